"""The micro config from end to end: what every stage leaves, and that it agrees with the stages before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import Checkout, micro_config
from PIL import Image
from safetensors.numpy import load_file

from dmin.data.samples import read_samples, sample_pixels
from dmin.gradients.sketches.fold import fold

SUBSETS = ["blue", "green", "red"]
TRAIN, TEST, QUERIES, TIMESTEPS = 60, 15, 12, 3
METHODS = ("dmin", "dmin_no_norm")
WIDTHS = ("64", "256", "full")

TABLES = {
    "detection_rate": ["method", "v", "backend", "subset", "k", "rate", "low", "high", "chance", "queries"],
    "retrieval": ["method", "v", "backend", "k", "recall", "p50_ms", "p95_ms", "build_seconds", "index_bytes"],
    "cost": ["method", "stage", "seconds", "bytes_per_sample", "total_bytes", "peak_memory_bytes", "hardware"],
    "gradient_norms": ["split", "sample_id", "subset", "timestep", "norm"],
    "generation_quality": ["subset", "images", "in_subset", "rate"],
    "rank_agreement": ["method", "other", "spearman", "low", "high", "overlap", "k", "queries"],
    "hubness": ["method", "v", "k", "measure", "value", "low", "high", "queries", "train"],
    "significance": [
        "method",
        "v",
        "queries",
        "held_out",
        "tested",
        "fdr",
        "least_p",
        "needed",
        "answered",
        "low",
        "high",
        "significant",
        "auc",
        "sketch_error",
        "probe_error",
        "seed_error",
        "seed_coverage",
    ],
}


def table(results: Path, name: str) -> pd.DataFrame:
    """Read a table of the run; widths are text."""
    return pd.read_csv(results / "tables" / f"{name}.csv", dtype={"v": "string"})


def scores(results: Path, method: str, v: str) -> tuple[np.ndarray, list[str], list[str]]:
    """Return the scores of a method at a width, and the ids of the queries and of the training samples."""
    folder = results / "influence" / method / f"v{v}"
    facts = json.loads((folder / "scores.json").read_text())
    return np.load(folder / "scores.npy"), facts["queries"], facts["train"]


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_table_has_the_contracted_columns(results: Path, name: str, columns: list[str]) -> None:
    frame = table(results, name)
    assert list(frame.columns) == columns
    assert len(frame) > 0


def test_only_the_contracted_tables_exist(results: Path) -> None:
    assert {path.stem for path in (results / "tables").glob("*.*") if path.is_file()} == set(TABLES)


def test_dataset_holds_every_row_once_and_its_noised_copies(finished: Checkout) -> None:
    folder = finished.root / "results" / "datasets" / "micro"
    train, test = (read_samples(folder / f"{split}.parquet") for split in ("train", "test"))
    ids = [*train["id"], *test["id"]]
    assert (len(train), len(test)) == (TRAIN, TEST)
    assert len(set(ids)) == len(ids)
    assert {name for name in ids if "+" not in name} == {f"{subset}/{row}" for subset in SUBSETS for row in range(24)}
    assert sum(name.endswith("+noise") for name in ids) == 3
    assert set(train.loc[train["id"].str.endswith("+noise"), "subset"]) | {"noise"} == {"noise"}
    assert sample_pixels(train).shape == (TRAIN, 16, 16, 3)
    summary = json.loads((folder / "dataset.json").read_text())
    assert {split: sum(counts.values()) for split, counts in summary["counts"].items()} == {
        "train": TRAIN,
        "test": TEST,
    }


def test_queries_are_named_images_of_test_prompts(finished: Checkout, results: Path) -> None:
    queries = read_samples(results / "queries" / "queries.parquet")
    test = read_samples(finished.root / "results" / "datasets" / "micro" / "test.parquet")
    assert sorted(queries["id"]) == [f"query/{subset}/{number:04d}" for subset in SUBSETS for number in range(4)]
    assert set(queries["prompt"]) <= set(test["prompt"])
    assert queries["seed"].is_unique
    pixels = sample_pixels(queries)
    assert pixels.shape == (QUERIES, 16, 16, 3)
    assert len(np.unique(pixels.reshape(QUERIES, -1), axis=0)) == QUERIES


def test_gradient_shards_cover_the_samples_in_order(results: Path) -> None:
    folder = results / "gradients" / "loss"
    assert sorted(path.name for path in folder.glob("*/*.safetensors")) == [
        "00000000-00000012.safetensors",
        "00000000-00000040.safetensors",
        "00000040-00000060.safetensors",
    ]
    shard = load_file(folder / "train" / "00000040-00000060.safetensors")
    parameters = shard["raw"].shape[-1]
    assert parameters > 256
    assert {name: (value.shape, value.dtype) for name, value in shard.items()} == {
        "sketch": ((20, TIMESTEPS, 256), np.float16),
        "norm": ((20, TIMESTEPS), np.float32),
        "raw": ((20, TIMESTEPS, parameters), np.float16),
    }
    assert np.allclose(np.linalg.norm(shard["raw"].astype(np.float64), axis=-1), 1, atol=1e-3)
    assert (shard["norm"] > 0).all()


@pytest.mark.parametrize("split", ["train", "queries"])
def test_narrow_sketch_is_the_fold_of_the_cache(results: Path, split: str) -> None:
    shards = sorted((results / "gradients" / "loss" / split).glob("*.safetensors"))
    cached = np.concatenate([load_file(path)["sketch"] for path in shards])
    wide, narrow = (np.load(results / "sketch" / "loss" / f"v{v}" / f"{split}.npy") for v in (256, 64))
    assert wide.dtype == narrow.dtype == np.float16
    assert np.array_equal(wide, cached)
    assert np.array_equal(narrow, fold(cached.astype(np.float32), 64).astype(np.float16))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("v", WIDTHS)
def test_exact_top_is_what_the_scores_say(results: Path, method: str, v: str) -> None:
    values, queries, train = scores(results, method, v)
    assert values.shape == (QUERIES, TRAIN)
    assert values.dtype == np.float32
    assert (len(set(queries)), len(set(train))) == (QUERIES, TRAIN)
    top = pd.read_parquet(results / "influence" / method / f"v{v}" / "exact" / "top.parquet")
    assert list(top.columns) == [
        "query_id", "query_subset", "rank", "sample_id", "sample_subset", "score",
        "p_value", "significant", "low", "high",
    ]  # fmt: skip
    assert top["p_value"].isna().all(), "nothing is held out by default"
    for row, query in enumerate(queries):
        listed = top[top["query_id"] == query].sort_values("rank")
        assert listed["rank"].tolist() == list(range(1, 11))
        best = np.argsort(-values[row], kind="stable")[:10]
        assert listed["sample_id"].tolist() == [train[index] for index in best]
        assert np.array_equal(listed["score"], values[row][best])


def test_scores_are_inner_products_of_the_raw_gradients(results: Path) -> None:
    folder = results / "gradients" / "loss"
    splits = [
        {
            name: np.concatenate([load_file(path)[name] for path in sorted((folder / split).glob("*.safetensors"))])
            for name in ("raw", "norm")
        }
        for split in ("queries", "train")
    ]
    for method, weigh in (("dmin", False), ("dmin_no_norm", True)):
        left, right = (
            (split["raw"] * (split["norm"][:, :, None] if weigh else 1))
            .astype(np.float64)
            .reshape(len(split["raw"]), -1)
            for split in splits
        )
        assert np.allclose(scores(results, method, "full")[0], left @ right.T, rtol=1e-3, atol=1e-6)


def test_detection_rates_have_a_mean_and_chance(finished: Checkout, results: Path) -> None:
    frame = table(results, "detection_rate")
    lists = [(method, v, "exact") for method in METHODS for v in WIDTHS]
    lists += [("dmin", v, "hnsw") for v in WIDTHS if v != "full"] + [("text", "", "exact")]
    frame["v"] = frame["v"].fillna("")
    keys = frame[["method", "v", "backend", "subset", "k"]].itertuples(index=False, name=None)
    assert sorted(keys) == sorted(
        (*entry, subset, k) for entry in lists for subset in [*SUBSETS, "mean"] for k in (2, 5)
    )
    train = read_samples(finished.root / "results" / "datasets" / "micro" / "train.parquet", ["subset"])
    share = train["subset"].value_counts() / TRAIN
    parts = frame[frame["subset"] != "mean"]
    assert np.allclose(parts["chance"], share[parts["subset"]])
    means = frame[frame["subset"] == "mean"].set_index(["method", "v", "backend", "k"])
    expected = parts.groupby(["method", "v", "backend", "k"])[["rate", "chance"]].mean()
    assert np.allclose(means.loc[expected.index, ["rate", "chance"]], expected)
    assert set(means["queries"]) == {QUERIES}
    assert frame[["rate", "low", "high"]].stack().between(0, 1).all()
    assert (frame["low"] <= frame["high"]).all()


def test_detection_rate_follows_from_the_ranked_list(results: Path) -> None:
    top = pd.read_parquet(results / "influence" / "dmin" / "v256" / "exact" / "top.parquet")
    frame = table(results, "detection_rate").query("method == 'dmin' and v == '256' and backend == 'exact' and k == 5")
    hits = (top["query_subset"] == top["sample_subset"])[top["rank"] <= 5]
    assert np.allclose(
        frame.set_index("subset").loc[SUBSETS, "rate"], hits.groupby(top["query_subset"]).mean()[SUBSETS]
    )


def test_index_recalls_the_exact_ranking(results: Path) -> None:
    frame = table(results, "retrieval")
    assert frame[["v", "k"]].to_numpy().tolist() == [["64", 2], ["64", 5], ["256", 2], ["256", 5]]
    # With ef near the size of the training set, the search is exhaustive but for ties.
    assert (frame["recall"] > 0.95).all()
    assert (frame["p50_ms"] <= frame["p95_ms"]).all()
    found, exact = (
        pd.read_parquet(results / "influence" / "dmin" / "v256" / backend / "top.parquet")
        for backend in ("hnsw", "exact")
    )
    assert list(found.columns) == list(exact.columns)
    assert np.allclose(found["score"], exact["score"], atol=1e-5)


def test_cost_covers_every_stage(results: Path) -> None:
    frame = table(results, "cost")
    assert set(frame["stage"].str.split().str[0]) == {"cache", "query", "compress", "index", "score", "retrieve"}
    assert (frame["seconds"] >= 0).all()
    assert (frame["peak_memory_bytes"] > 2**20).all()
    assert frame["hardware"].str.len().gt(0).all()


def test_norms_cover_every_sample_and_timestep(results: Path) -> None:
    frame = table(results, "gradient_norms")
    assert frame.groupby("split")["sample_id"].nunique().to_dict() == {"train": TRAIN, "queries": QUERIES}
    assert len(frame) == (TRAIN + QUERIES) * TIMESTEPS
    assert not frame.duplicated(["sample_id", "timestep"]).any()


def test_generation_quality_counts_every_image(results: Path) -> None:
    frame = table(results, "generation_quality").set_index("subset")
    assert frame["images"].to_dict() == {**dict.fromkeys(SUBSETS, 4), "all": QUERIES}


def test_every_figure_is_drawn(results: Path) -> None:
    folder = results / "figures"
    names = ["detection_by_k", "detection_by_v", "gradient_norms", "training", "queries", "retrieval"]
    names += ["main_table", "main_table_subsets", "rank_agreement"] + [f"methods/{subset}" for subset in SUBSETS]
    names += [f"scores/{method}-v256" for method in METHODS] + [f"gallery/dmin-v256/{subset}" for subset in SUBSETS]
    drawn = [str(path.relative_to(folder)) for path in folder.rglob("*.*") if ".sha256" not in path.parts]
    assert sorted(drawn) == sorted(f"{name}.{suffix}" for name in names for suffix in ("png", "svg"))
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 100
            assert np.asarray(image.convert("L")).std() > 5, f"{name} is empty"
        assert "</svg>" in (folder / f"{name}.svg").read_text()


class Scripts(HTMLParser):
    """Collects the text of script elements and whatever would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        if self._inside:
            self.texts.append("")
        self.fetched += [value or "" for name, value in attrs if name == "src" or (tag == "link" and name == "href")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


def test_explorer_holds_every_query_and_needs_no_network(results: Path) -> None:
    page = Scripts()
    page.feed((results / "explorer.html").read_text())
    page.close()
    assert [address for address in page.fetched if not address.startswith("data:")] == []
    data = next(json.loads(text) for text in page.texts if text.lstrip().startswith("{"))
    assert sorted(query[0] for query in data["queries"]) == sorted(scores(results, "dmin", "256")[1])
    assert [ranking["label"] for ranking in data["rankings"]] == [
        *(f"{method}, v={v}" for method in METHODS for v in ("256", "full")),
        "text",
    ]


def test_nothing_temporary_is_left(finished: Checkout) -> None:
    made = [path for folder in ("results", "logs") for path in (finished.root / folder).rglob("*")]
    assert len(made) > 100
    # Snakemake keeps the time of a folder in a file of its own.
    made = [path for path in made if path.name not in (".snakemake_timestamp", ".sha256")]
    assert [path for path in made if path.name.startswith(".") or path.suffix in (".tmp", ".part")] == []


def test_every_job_logs_its_end(finished: Checkout) -> None:
    logs = list((finished.root / "logs").rglob("*.log"))
    assert len(logs) > 30
    assert [path for path in logs if "finished in" not in path.read_text()] == []


def test_report_is_made(finished: Checkout) -> None:
    result = finished.snakemake("--report", "report.zip")
    assert result.returncode == 0, result.stderr
    assert (finished.root / "report.zip").stat().st_size > 100_000
    assert "detection_rate.csv" in result.stderr


def test_second_run_from_scratch_gives_the_same_numbers(
    finished: Checkout, new_checkout: Callable[[str], Checkout]
) -> None:
    run = Path("results") / "runs" / "micro"
    wanted = [run / "tables" / "detection_rate.csv", Path("results") / "models" / "micro" / "training.csv"]
    wanted += [run / "influence" / method / f"v{v}" / "scores.npy" for method in METHODS for v in WIDTHS]
    again = new_checkout("again")
    # The run that all tests share was made on the warm interpreter; this one has a new process for every job.
    result = again.snakemake("--cores", "2", *map(str, wanted), python=sys.executable)
    assert result.returncode == 0, result.stdout + result.stderr
    different = [
        str(path) for path in wanted if (again.root / path).read_bytes() != (finished.root / path).read_bytes()
    ]
    assert different == []


def test_micro_config_says_what_this_file_expects() -> None:
    run = micro_config()["runs"]["micro"]
    assert run["gradients"]["timesteps"]["count"] == TIMESTEPS
    assert [*map(str, run["influence"]["widths"]), "full"] == list(WIDTHS)
