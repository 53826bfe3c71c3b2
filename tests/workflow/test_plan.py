"""The plan of the shipped configs: the paper's data arithmetic and accounting, and no other job."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config
from config_tables import load
from PIL import Image

from dmin.data.assembly import split_counts
from dmin.data.source import fetch_source
from dmin.plan.plan import estimate_games, estimate_runs
from dmin.plan.render import render_sizes
from dmin.workflow.game_plans import game_plan
from dmin.workflow.plan_entries import plan_entry, planned_jobs
from dmin.workflow.tables import Tables

PAPER = sorted((PROJECT / "config" / "paper").glob("*.yaml"))
# The study of thickness asks of another data set and stands apart.
SINGLE = [path for path in PAPER if path.stem not in ("all", "thickness_full") and "\ngames:" not in path.read_text()]
GAMES = [path for path in PAPER if "\ngames:" in path.read_text()]
# The study of thickness has no baselines.
RUNS = {"thickness_full": ["thickness_full"]}
BASELINES = {"random", "ssim", "clip", "lissa", "datainf", "dtrak", "journey_trak"}
SHIPPED = PROJECT / "resources" / "architectures"


def own_runs(name: str) -> list[str]:
    """Return the runs of one of the paper's experiments: that of all methods, and those on the timesteps of authors."""
    return [name, f"{name}_dtrak", f"{name}_datainf"]


def planned_runs(tables: Tables) -> list[dict[str, Any]]:
    """Return what the plan needs to know about every run."""
    return [plan_entry(tables, run) for run in tables.runs.values()]


def laid_over_the_example(path: Path) -> Tables:
    """Return the tables of a config as Snakemake sees it: laid over config/config.yaml, checked, defaults filled in."""

    def merge(below: Any, above: Any) -> Any:
        if isinstance(below, dict) and isinstance(above, dict):
            return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
        return above

    example = yaml.safe_load((PROJECT / "config" / "config.yaml").read_text())
    config = merge(example, yaml.safe_load(path.read_text()))
    return load(config)


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.mark.parametrize("path", GAMES, ids=lambda path: path.stem)
def test_game_of_the_paper_is_planned(path: Path) -> None:
    tables = laid_over_the_example(path)
    assert not tables.runs and "example" not in {*tables.models, *tables.datasets}
    table = estimate_games([game_plan(tables, game) for game in tables.games.values()], SHIPPED)
    assert (table[["members", "jobs", "steps", "images", "hours", "bytes"]] > 0).all(axis=None)
    sizes = table.set_index("trainer")["parameters"]
    assert sizes["pruning"] == sizes["sparsified"] < sizes["retrain"]


def test_published_game_is_as_large_as_published() -> None:
    tables = laid_over_the_example(PROJECT / "config" / "paper" / "global_cifar10.yaml")
    settings, train = tables.games["cifar10"].settings, tables.models["cifar10"].settings["train"]
    assert tables.games["cifar10"].player_count == 50_000
    assert train["steps"] == settings["pruning"]["steps"] == 200_000 and settings["pruning"]["ratio"] == 0.3
    assert settings["unlearning"]["steps"] == 4_000 and settings["unlearning"]["batch_size"] == 128
    table = estimate_games([game_plan(tables, tables.games["cifar10"])], SHIPPED).set_index("trainer")
    assert table["parameters"].to_dict() == {
        "pruning": 19_851_157, "retrain": 35_746_307, "sparsified": 19_851_157,
    }  # fmt: skip
    # Nobody and everybody beside 32 subsets with three seeds, and 1,024 that are fitted.
    assert table["members"].to_dict() == {"pruning": 1, "retrain": 98, "sparsified": 98 + 1024}
    assert table["steps"]["sparsified"] == (98 + 1024) * 4_000


@pytest.mark.parametrize("path", [path for path in PAPER if path not in GAMES], ids=lambda path: path.stem)
def test_paper_config_is_valid_and_drops_the_example(path: Path) -> None:
    tables = laid_over_the_example(path)
    assert "example" not in {*tables.runs, *tables.models, *tables.datasets}
    table, costs = estimate_runs(planned_runs(tables), SHIPPED, Path("none.csv"))
    assert list(table["run"].unique()) == list(tables.runs)
    assert (table["evaluations"] == table["samples"] * table["timesteps"]).all()
    assert (costs[["cache_bytes", "device_bytes", "host_bytes", "jobs"]] > 0).all(axis=None)
    singles = [single.stem for single in SINGLE] if path.stem == "all" else [path.stem]
    assert sorted(tables.runs) == sorted(name for single in singles for name in RUNS.get(single, own_runs(single)))


def test_all_holds_the_single_configs() -> None:
    whole = yaml.safe_load((PROJECT / "config" / "paper" / "all.yaml").read_text())
    for path in SINGLE:
        single = yaml.safe_load(path.read_text())
        for table in ("datasets", "bases", "models", "runs"):
            assert {name: whole[table].get(name) for name in single[table]} == single[table], (path.stem, table)


@pytest.mark.parametrize("name", ["sd14_lora", "sd3_lora", "sd3_full"])
def test_paper_settings(name: str) -> None:
    config = laid_over_the_example(PROJECT / "config" / "paper" / f"{name}.yaml").config
    model, run = config["models"][name], config["runs"][name]
    full = name == "sd3_full"
    assert config["datasets"][model["dataset"]]["size"] == 512
    assert model["train"]["learning_rate"] == (1e-4 if full else 1e-3)
    assert model["train"]["batch_size"] == 64
    assert model["train"]["steps"] == 150 * -(-9288 // 64)
    assert model["finetune"] == ("full" if full else "adapter")
    if not full:
        assert model["lora"]["rank"] == 4 and model["lora"]["alpha"] == 8
        assert sorted(model["lora"]["targets"]) == ["to_k", "to_out.0", "to_q", "to_v"]
    assert run["gradients"]["timesteps"]["grid"] == "dmin_cubic" and run["gradients"]["timesteps"]["count"] == 5
    assert run["influence"]["hnsw"] == {"method": "auto", "M": 16, "ef_construction": 200, "ef": 500, "seed": 100}


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_paper_runs_have_the_seven_baselines_clip_and_table_6(path: Path) -> None:
    tables = laid_over_the_example(path)
    shared, dtrak, datainf = (tables.runs[name] for name in own_runs(path.stem))
    # A held-out image has no trajectory.
    baselines = BASELINES - ({"journey_trak"} if path.stem == "ddpm_cifar10" else set())
    assert baselines <= set(shared.influence.methods) and "clip" in shared.influence.options["encoder"]
    assert shared.ablation.settings["hnsw"]["M"] == [4, 8, 16, 32, 48] and shared.ablation.settings["hnsw"]["v"] == 4096
    assert (dtrak.gradients.settings["timesteps"]["grid"], dtrak.gradients.timestep_count) == ("uniform", 10)
    assert dtrak.gradients.settings["noise"]["policy"] == "by_id" and "dtrak" in dtrak.influence.methods
    assert datainf.gradients.settings["timesteps"]["custom"] == [25, 225, 425, 525, 725, 925]
    assert datainf.gradients.settings["noise"]["policy"] == "per_timestep" and datainf.influence.methods == ["datainf"]
    # All three ask about the same images.
    assert shared.queries.settings == dtrak.queries.settings == datainf.queries.settings


def test_six_sets_have_the_papers_arithmetic() -> None:
    dataset = laid_over_the_example(PROJECT / "config" / "paper" / "sd3_lora.yaml").datasets["mixed"]
    assert [source["rows"] for source in dataset.settings["sources"]] == [1916, 3053, 5000, 61, 833, 196]
    assert (dataset.counts.copies, dataset.counts.total, dataset.counts.train) == (552, 11_611, 9_288)
    # Without noised copies it is the published clean set.
    assert split_counts(11_059, 0.0, 0.8) == (0, 11_059, 8_847)


@pytest.mark.parametrize(("name", "train"), [("ddpm_mnist", 60_000), ("ddpm_cifar10", 50_000)])
def test_unconditional_sets_train_on_as_many_rows_as_the_official_split(name: str, train: int) -> None:
    tables = laid_over_the_example(PROJECT / "config" / "paper" / f"{name}.yaml")
    assert tables.runs[name].gradients.count("train") == train
    dataset = tables.runs[name].model.dataset
    assert dataset.settings["test_sources"] == ["test"] and dataset.counts.total == train + 10_000
    assert [dataset.source(source)["split"] for source in dataset.source_names] == dataset.source_names


# The columns that the pages of the hub sets show, beside the image.
HUB_COLUMNS = {
    "clint-greene/magic-card-captions": ["text"],
    "MohamedRashad/midjourney-detailed-prompts": ["image_description", "long_prompt", "short_prompt"],
    "HighCWu/diffusiondb_2m_first_5k_canny": ["guide", "text"],
    "merve/lego_sets_latest": ["prompt"],
    "svjack/pokemon-blip-captions-en-ja": ["en_text", "ja_text"],
    "Albe-njupt/gesang_flowers": ["text"],
}


def test_every_row_of_the_six_sets_is_taken_from_its_columns(tmp_path: Path) -> None:
    config = laid_over_the_example(PROJECT / "config" / "paper" / "sd3_lora.yaml").config
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    rows = 0
    for source in config["datasets"]["mixed"]["sources"]:
        columns = HUB_COLUMNS[source["path"]]
        content = {name: [f"{name} {number}" for number in range(source["rows"])] for name in columns}
        images = {name: [image] * source["rows"] for name in ("image", *({"guide"} & set(columns)))}
        features = {name: datasets.Value("string") for name in columns} | {name: datasets.Image() for name in images}
        stand_in = tmp_path / f"{source['name']}.parquet"
        datasets.Dataset.from_dict({**content, **images}, features=datasets.Features(features)).to_parquet(stand_in)
        out = tmp_path / "out" / f"{source['name']}.parquet"
        fetch_source(source["name"], {**source, "path": str(stand_in)}, out)
        prompts = pq.read_table(out, columns=["prompt"])["prompt"]
        assert prompts[0].as_py() == f"{source['caption_column']} 0"
        rows += len(prompts)
    assert rows == 11_059


def test_page_shows_the_plan_of_the_paper() -> None:
    runs = planned_runs(laid_over_the_example(PROJECT / "config" / "paper" / "all.yaml"))
    sizes = render_sizes(*estimate_runs(runs, SHIPPED, Path("none.csv")))
    page = (PROJECT / "docs" / "plan.md").read_text()
    shown = re.search(r"<!-- sizes -->\n(.*)\n<!-- /sizes -->", page, re.DOTALL)
    assert shown is not None
    # Replace the text between the marks by what `snakemake plan` prints first.
    assert shown[1] == sizes


def test_plan_starts_no_other_job_and_answers_each_time(
    new_checkout: Callable[[str], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = new_checkout("plan")
    assert checkout.plan("plan") == {"plan": 1}
    result = checkout.run("plan")
    assert "| micro " in result.stdout + result.stderr
    table = pd.read_csv(checkout.root / "results" / "plan.csv", dtype={"v": str})
    assert table["v"].tolist() == ["64", "256", "full"]
    assert table["samples"].unique().tolist() == [60]
    assert sorted(path.name for path in (checkout.root / "results").iterdir()) == [
        ".sha256", "benchmarks", "plan.csv", "plan_costs.csv", "plan_games.csv",
    ]  # fmt: skip
    assert checkout.plan("plan") == {"plan": 1}
    # The number of jobs is that of the wiring, up to the ranked lists.
    jobs = pd.read_csv(checkout.root / "results" / "plan_costs.csv")["jobs"].unique().tolist()
    planned = checkout.plan("influence")
    assert jobs == [sum(planned.values()) - planned["influence"]]
    config = micro_config()
    config["runs"]["micro"]["influence"]["methods"] = ["text", "random"]
    checkout.write_config(yaml.safe_dump(config))
    planned = checkout.plan("influence")
    # Its data are the checkout's, where the config is checked.
    monkeypatch.chdir(checkout.root)
    assert planned_jobs(load(config).runs["micro"]) == sum(planned.values()) - planned["influence"]


def test_snakemake_plans_the_paper(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("paper")
    for name in ("architectures", "mnist"):
        shutil.copytree(PROJECT / "resources" / name, checkout.root / "resources" / name)
    paper = ["--configfile", str(PROJECT / "config" / "paper" / "all.yaml")]
    assert checkout.plan("plan", *paper) == {"plan": 1}
    checkout.run("plan", *paper)
    table = pd.read_csv(checkout.root / "results" / "plan.csv", dtype={"v": str})
    # A config that defines data sets stands alone: the checkout's run is left out.
    assert set(table["run"]) == {name for path in SINGLE for name in own_runs(path.stem)}
    full = table[(table["run"] == "sd3_full") & (table["v"] == "4096")].to_dict("records")[0]
    assert (full["parameters"], full["evaluations"]) == (2_008_851_456, 46_440)
    assert full["total_bytes"] == 9288 * 5 * 4096 * 4


def test_full_disk_does_not_keep_anyone_from_planning(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("small-disk")
    config = micro_config()
    # A cache of tens of terabytes, in shards of the largest size.
    for source in config["datasets"]["micro"]["sources"]:
        source |= {"path": "owner/images", "rows": 30_000_000}
    config["runs"]["micro"]["gradients"] |= {"timesteps": {"grid": "uniform", "count": 1000}, "shard_size": 1_000_000}
    checkout.write_config(yaml.safe_dump(config))
    checkout.run("plan")
    refused = checkout.snakemake("--cores", "1", "gradients")
    assert refused.returncode == 1
    assert "The gradient cache needs" in refused.stdout + refused.stderr


def test_throughput_of_an_unknown_run_is_refused() -> None:
    config = {**micro_config(), "plan": {"throughput": {"mirco": 3.0}}}
    config["datasets"]["micro"]["sources"] = [{"name": "hub", "path": "owner/images", "rows": 72}]
    with pytest.raises(SystemExit, match=r"plan\.throughput names 'mirco', which runs does not define"):
        load(config)
