"""What rules ask of runs: counts, paths and settings, with real values."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from run_config import PROJECT, RUN, config, tables

from dmin.catalogue.methods import METHODS
from dmin.folders.files import is_local
from dmin.runtime.errors import UserError
from dmin.workflow.costs import stage_metrics
from dmin.workflow.figures import (
    comparing_figures,
    drawn_figures,
    explored,
    explorer_notes,
    labelled_scores,
    labelled_tops,
)
from dmin.workflow.files import image_files, weight_files
from dmin.workflow.gradients import cache_pattern, checkpoint_step, even_timesteps
from dmin.workflow.job_contents import JobContents
from dmin.workflow.plan_entries import gradient_jobs, planned_jobs
from dmin.workflow.ranges import cut_ranges, range_ends
from dmin.workflow.tables import one_of, read_tables
from dmin.workflow.values import canonical, leave_out, pick
from dmin.workflow.verify_entries import verify_entries, verify_folders


def test_ranges_cover_everything_once() -> None:
    assert cut_ranges(120, 50) == ["00000000-00000050", "00000050-00000100", "00000100-00000120"]
    assert cut_ranges(0, 50) == []
    ends = [range_ends(name) for name in cut_ranges(1001, 7)]
    assert ends[0][0] == 0 and ends[-1][1] == 1001
    assert all(left[1] == right[0] for left, right in pairwise(ends))


def test_values_do_not_hang_on_the_order_of_keys() -> None:
    assert str(canonical({"b": [{"d": 1, "c": 2}], "a": None})) == "{'a': None, 'b': [{'c': 2, 'd': 1}]}"
    assert str(pick({"b": 1, "a": 2, "c": 3}, "b", "a")) == "{'a': 2, 'b': 1}"
    assert leave_out({"b": 1, "a": 2}, "b", "z") == {"a": 2}
    forwards, backwards = config(["dmin"]), config(["dmin"])
    backwards["runs"]["r"] = dict(reversed(backwards["runs"]["r"].items()))
    backwards["models"]["m"] = dict(reversed(backwards["models"]["m"].items()))
    one, two = (read_tables(given, PROJECT) for given in (forwards, backwards))
    assert str(one.runs["r"].settings) == str(two.runs["r"].settings)
    assert str(one.models["m"].training) == str(two.models["m"].training)


def test_pattern_admits_its_names_and_no_other() -> None:
    assert one_of(["a.b", "c"]) == r"a\.b|c"
    assert one_of([]) == "(?!)"


def test_files_on_disk_are_listed_and_those_of_the_hub_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base" / "unet").mkdir(parents=True)
    for name in ("unet/config.json", "model_index.json", "notes.md"):
        (tmp_path / "base" / name).touch()
    assert weight_files("base") == ["base/model_index.json", "base/unet/config.json"]
    assert image_files("./base") == ["base"]
    assert weight_files("base/notes.md") == ["base/notes.md"]
    assert weight_files("owner/base") == [] == image_files("owner/images")
    assert is_local("base") and not is_local("owner/base")


def test_counts_of_a_run() -> None:
    run = tables(["dmin"]).runs["r"]
    assert (run.model.dataset.counts.copies, run.model.dataset.counts.total) == (5, 105)
    assert run.gradients.count("train") == 84 and run.gradients.count("queries") == 6
    assert run.queries.subsets == ["red", "blue"] and run.queries.kind == "generated"


def test_shards_and_sketches_of_a_cache() -> None:
    gradients = tables(["dmin"]).runs["r"].gradients
    assert gradients.shards("loss", "train") == [
        f"{RUN}/gradients/loss/train/00000000-00000050.safetensors",
        f"{RUN}/gradients/loss/train/00000050-00000084.safetensors",
    ]
    assert gradients.sketch("loss", 64, "queries") == f"{RUN}/sketch/loss/v64/queries.npy"
    assert gradients.checkpoint_caches == ["checkpoint-400", "checkpoint-800"]
    assert gradients.checkpoint_sketches("64", "train") == [
        f"{RUN}/sketch/checkpoint-{step}/v64/train.npy" for step in (400, 800)
    ]
    assert gradients.samples("train") == "<results>/encoded/d/b/train.safetensors"
    assert gradients.samples("queries") == f"{RUN}/queries/queries.safetensors"


def test_caches_differ_from_that_of_the_loss_as_their_kind_says() -> None:
    gradients = tables(["dmin"]).runs["r"].gradients
    loss = gradients.gradient_settings("loss", "train")
    assert not {"shard_size", "block_dim"} & loss.keys() and loss["keep_raw"]
    for output in ("output_norm", "output_mean"):
        assert gradients.cache_settings(output, "train") == {"draws": 1, "quantity": output}
    blocks = gradients.gradient_settings("loss_blocks", "train")
    assert blocks == loss | {"cache_dim": 32, "sketch_kind": "blocks", "keep_raw": False}
    journey = gradients.gradient_settings("journey", "queries")
    assert "timesteps" not in journey and journey["noise"] == {"policy": "by_id", "seed": 42}
    assert gradients.cache_settings("journey", "queries") == {"draws": 4, "quantity": "loss", "steps": 7}
    assert gradients.trajectory("journey") == [f"{RUN}/queries/trajectory.safetensors"]
    assert gradients.trajectory("loss") == [] and gradients.rows("journey", "queries") == 7
    assert gradients.rows("loss", "train") == 10 and gradients.rows("checkpoint-400", "train") == 1
    assert gradients.rows("checkpoint-400", "queries") == gradients.options["tracin_timesteps"]


def test_checkpoints_are_replayed_for_training_samples_and_met_afresh_by_queries() -> None:
    gradients = tables(["dmin"]).runs["r"].gradients
    assert checkpoint_step("checkpoint-400") == 400 and checkpoint_step("loss") is None
    assert gradients.weights("checkpoint-400") == "<results>/models/m/checkpoints"
    assert gradients.weights("loss") == "<results>/models/m/pytorch_lora_weights.safetensors"
    assert gradients.replayed_log("checkpoint-400", "train") == ["<results>/models/m/training_log.parquet"]
    assert gradients.replayed_log("checkpoint-400", "queries") == [] == gradients.replayed_log("loss", "train")
    assert gradients.cache_settings("checkpoint-400", "train")["draws"] == 1
    assert gradients.cache_settings("checkpoint-400", "queries")["draws"] == 4
    assert "timesteps" not in gradients.gradient_settings("checkpoint-400", "train")
    asked = gradients.gradient_settings("checkpoint-400", "queries")
    assert asked["timesteps"]["custom"] == even_timesteps(10) and asked["noise"]["policy"] == "by_id"
    assert even_timesteps(1) == [500] and even_timesteps(3) == [1, 500, 999]


def test_cache_pattern_names_every_kind() -> None:
    kinds = "journey|loss|loss_blocks|loss_ekfac|loss_query_scaled|loss_scaled"
    assert cache_pattern("lissa") == rf"{kinds}|output_mean|output_norm|output_norm_scaled|checkpoint-\d+"


def test_widths_and_lists_of_each_kind_of_method() -> None:
    influence = {"uncompressed": True, "hnsw": {"M": 4, "ef_construction": 30}, "widths": [256, 64], "top_k": 10}
    methods = ["dmin", "dtrak", "datainf", "tracin", "text"]
    found = tables(methods, influence={**influence, "methods": methods}).runs["r"].influence
    assert [found.widths(method) for method in methods] == [
        ["64", "256", "full"],
        ["64", "256"],
        ["32"],
        ["64", "256"],
        [""],
    ]
    assert found.top("dmin", "full") == f"{RUN}/influence/dmin/vfull/exact/top.parquet"
    assert found.top("text", "") == f"{RUN}/influence/text/top.parquet"
    assert found.retrieved() == [f"{RUN}/influence/dmin/v{v}/hnsw/top.parquet" for v in (64, 256)]
    assert found.index(64, ".json") == f"{RUN}/index/v64/M4-efc30.json"
    assert found.shown == [("dmin", "256"), ("dtrak", "256"), ("datainf", "32"), ("tracin", "256"), ("text", "")]
    assert found.gradients_at("dmin", "full", "train") == found.gradients.shards("loss", "train")
    assert found.gradients_at("dtrak", "64", "train") == f"{RUN}/sketch/output_norm/v64/train.npy"
    assert found.caches("train") == ["loss", "loss_blocks", "output_norm"]
    assert found.all_caches("train") == ["loss", "output_norm", "loss_blocks", "checkpoint-400", "checkpoint-800"]
    metrics = stage_metrics(found)
    assert len(metrics["compress"]) == 2 + 2 + 1 + 4 and len(metrics["score"]) == len(found.tops) == 9
    assert found.lambda_sweeps() == [f"{RUN}/influence/dtrak/v{v}/lambda.csv" for v in (64, 256)]


def test_each_job_gets_the_options_of_its_method_alone() -> None:
    influence = tables(["dmin"]).runs["r"].influence
    assert {method: list(influence.options_of(method)) for method in ("dmin", "trak", "nda")} == {
        "dmin": [],
        "trak": ["relative_lambda"],
        "nda": ["nda_patch", "nda_side", "nda_timestep", "seed"],
    }
    assert list(influence.options_of("trak", "lambda_grid", "seed")) == ["lambda_grid", "relative_lambda", "seed"]
    assert all(influence.options_of(name).keys() == set(entry.options) for name, entry in METHODS.items())
    rules = "".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
    assert (
        "options=lambda w: runs[w.run].influence.options," not in rules and rules.count("influence.options_of(") == 10
    )


def test_index_holds_the_sketches_of_the_method_that_the_config_names() -> None:
    def index(methods: list[str], **hnsw: Any) -> Any:
        influence = {"methods": methods, "widths": [64], "top_k": 10, "hnsw": hnsw}
        return tables(methods, influence=influence).runs["r"].influence

    both = ["dmin", "dmin_scaled"]
    assert [index(given).indexed for given in (["text"], ["dmin"], ["dmin_scaled"], both)] == [
        "dmin", "dmin", "dmin_scaled", "dmin",
    ]  # fmt: skip
    scaled = index(both, method="dmin_scaled")
    assert scaled.retrieved() == [f"{RUN}/influence/dmin_scaled/v64/hnsw/top.parquet"]
    assert scaled.indexed_sketch("64", "queries") == f"{RUN}/sketch/loss_scaled/v64/queries.npy"
    assert index(both).indexed_sketch("64", "train") == f"{RUN}/sketch/loss/v64/train.npy"


def test_index_of_a_method_that_the_run_lacks_is_refused() -> None:
    influence = {"methods": ["dmin"], "widths": [64], "top_k": 10, "hnsw": {"method": "dmin_scaled"}}
    tell = (
        r"^runs.r.influence.hnsw.method is dmin_scaled, which influence.methods lacks; add it there or set it to auto.$"
    )
    with pytest.raises(UserError, match=tell):
        tables(["dmin"], influence=influence)


def test_uncompressed_gradients_are_kept_under_every_scale_of_the_loss() -> None:
    methods = ["dmin_scaled", "dmin_query_scaled", "dtrak_unit_scaled"]
    influence = {"methods": methods, "widths": [64], "top_k": 10, "uncompressed": True}
    run = tables(methods, influence=influence).runs["r"]
    assert [run.influence.widths(method) for method in methods] == [["64", "full"], ["64", "full"], ["64"]]
    kept = {name: run.gradients.gradient_settings(name, "train")["keep_raw"] for name in run.influence.caches("train")}
    assert kept == {"loss": True, "loss_scaled": True, "output_norm_scaled": False}
    asked = run.influence.gradients_at("dmin_query_scaled", "full", "queries")
    assert asked == run.gradients.shards("loss_query_scaled", "queries")


def test_pilot_larger_than_the_set_is_refused_only_where_a_scale_is_read() -> None:
    gradients = {"cache_dim": 256, "scale": {"pilot": 85}}
    with pytest.raises(UserError, match=r"^runs.r.gradients.scale.pilot is 85, but the training set has 84 samples"):
        tables(["dmin_scaled"], gradients=gradients)
    assert tables(["dmin"], gradients=gradients).runs["r"].gradients.scale("loss") == []


def test_run_without_dmin_searches_no_index() -> None:
    influence = tables(["grad_dot"]).runs["r"].influence
    assert influence.retrieved() == [] and influence.journey_steps() == []


def test_figures_of_a_run() -> None:
    run = tables(["dmin", "text"]).runs["r"]
    assert drawn_figures(run) == [
        "detection_by_k", "detection_by_v", "gradient_norms", "training", "queries", "retrieval",
        "scores/dmin-v256", "gallery/dmin-v256/red", "gallery/dmin-v256/blue",
    ]  # fmt: skip
    assert comparing_figures(run) == [
        "main_table",
        "main_table_subsets",
        "rank_agreement",
        "methods/red",
        "methods/blue",
    ]
    assert list(labelled_tops(run)) == list(labelled_scores(run)) == ["dmin, v=256", "text"]
    assert labelled_scores(run)["dmin, v=256"] == "<results>/runs/r/influence/dmin/v256/scores.npy"
    assert explored(run, [])["asked_sketch"] == "<results>/runs/r/sketch/loss/v256/queries.npy"
    assert explored(tables(["text"]).runs["r"], []) == {}
    assert explorer_notes(run)["Timesteps"] == "10, grid dmin_cubic"
    prompts = {"source": "prompts", "prompts": ["a"]}
    asked = tables(["text"], queries=prompts).runs["r"]
    assert drawn_figures(asked) == ["gradient_norms", "training", "queries"]


def test_planned_jobs_are_those_of_the_wiring() -> None:
    run = tables(["dmin", "text"]).runs["r"]
    # Two caches' shards: two of training samples, one of queries.
    assert gradient_jobs(run) == 3
    # Fetches; assembly, encoding, training, generation; scores; an index and a retrieval a width; the encoding of the
    # queries, the shards and the sketches.
    assert planned_jobs(run) == 2 + 4 + 3 + 2 * 2 + 1 + 3 + 4
    assert planned_jobs(tables(["text"]).runs["r"]) == 2 + 4 + 1


def test_every_file_of_a_run_is_checked_after_what_it_was_made_from() -> None:
    methods = ["dmin", "tracin", "journey_trak", "lissa", "datainf", "text"]
    found = tables(methods)
    run = found.runs["r"]
    entries = verify_entries([run], [], JobContents(found, print))
    kinds = [entry["kind"] for entry in entries]
    assert sorted(set(kinds), key=kinds.index) == [
        "imported", "dataset", "weights", "checkpoints", "shard", "sketch", "scores", "index", "retrieved",
    ]  # fmt: skip
    assert kinds.count("scores") == len(run.influence.tops)
    files = [next(iter(entry["files"].values())) for entry in entries]
    assert len(set(files)) == len(files)
    assert not any("<" in file for file in files)
    shards = {file: entry for file, entry in zip(files, entries, strict=True) if entry["kind"] == "shard"}
    journey = shards["runs/r/gradients/journey/queries/00000000-00000006.safetensors"]
    assert journey["made_from"]["trajectory"] == ["file", "runs/r/queries/trajectory.safetensors"]
    replayed = shards["runs/r/gradients/checkpoint-400/train/00000000-00000050.safetensors"]
    assert replayed["made_from"]["weights"] == ["checkpoint", ["models/m/checkpoints", 400]]
    assert "replay" in replayed["made_from"]
    answers = shards["runs/r/gradients/lissa/queries/00000000-00000006.safetensors"]
    assert set(answers["config"]) == {"gradients", "lissa"}
    folders = verify_folders([run], [])
    assert [folder for folder, name in folders.items() if name] == ["runs/r"] and "models/m" in folders
    assert all(any(file.startswith(f"{folder}/") for folder in folders) for file in files)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("runs.r.lds", {"bank": "x"}, r"runs\.r\.lds\.bank is 'x', which banks does not define"),
        ("runs.r.gradients.objective", "reference", "reference, which only stable_diffusion_3 has; set it to training"),
        ("banks.k.exclude", [0, 1, 2], r"banks\.k\.exclude leaves 7 of 10 sets"),
        ("models.m.finetune", "full", r"parameters is adapter, but models\.m is fine-tuned in full"),
    ],
)
def test_checks_go_by_the_catalogue_and_the_tables(place: str, value: Any, sentence: str) -> None:
    given: Any = config(["dmin"], lds={"bank": "k"})
    *parents, last = place.split(".")
    section = given
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(UserError, match=sentence):
        read_tables(given, PROJECT)


def test_family_without_adapter_is_refused_one() -> None:
    given = config(["dmin"])
    given["bases"]["b"]["family"] = "ddpm"
    with pytest.raises(UserError, match="finetune is adapter, which the family ddpm does not take; set it to full"):
        read_tables(given, PROJECT)
