"""P-values, significant images and intervals of scores: uniform, found, held and covering, as they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import METADATA, compress_shards, write_gradients
from schema_defaults import lists, options
from scipy.stats import kstest

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.joined_rows import JoinedRows
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.ranking_table import ranking_table
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.attribution.score_errors import ScoreErrors, cell_share, score_errors
from dmin.attribution.significance import Ranks, rank_among, same_kind
from dmin.data.samples import write_samples
from dmin.evaluation.significance import COLUMNS, Attribution, evaluate_significance
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.gradients.sketches.fold import fold
from dmin.runtime.errors import UserError

WIDE, WIDTH, STEPS = 64, 32, 3
# Queries, training images and held-out ones of each of two subsets, and copies of each query that were planted.
ASKED, TRAINED, HELD_OUT, COPIES = 2, 60, 150, 6


def everything(scores: np.ndarray, held_out: np.ndarray, fdr: float = 0.1) -> Ranks:
    every = [np.ones(values.shape, dtype=bool) for values in (held_out, scores)]
    return rank_among(scores, held_out, *every, fdr)


def test_p_values_of_held_out_among_held_out_are_uniform() -> None:
    generator = np.random.default_rng(0)
    # Each query likes some images more, and is noisy by its own measure.
    values = generator.standard_normal((400, 100)) * generator.uniform(0.1, 9, (400, 1)) + 5
    p_values = everything(values[:, :1], values[:, 1:]).p_value[:, 0]
    assert kstest(p_values, "uniform").pvalue > 0.05
    assert 0.03 < (p_values <= 0.05).mean() < 0.07


def test_the_false_discovery_rate_is_held_where_something_is_found() -> None:
    generator = np.random.default_rng(1)
    false, found = [], []
    for _ in range(300):
        scores = generator.standard_normal((1, 200))
        scores[0, :30] += 4
        taken = everything(scores, generator.standard_normal((1, 300))).found[0]
        false.append(taken[30:].sum() / max(1, taken.sum()))
        found.append(taken[:30].mean())
    assert np.mean(false) <= 0.12 and np.mean(found) > 0.8


def test_without_influence_almost_no_query_has_an_answer() -> None:
    generator = np.random.default_rng(2)
    ranks = everything(generator.standard_normal((400, 100)), generator.standard_normal((400, 60)))
    assert ranks.found.any(1).mean() <= 0.12
    assert ranks.auc.mean() == pytest.approx(0.5, abs=0.02)


def test_images_of_another_subset_are_not_compared() -> None:
    scores, held_out = np.array([[3.0, 1.0, 9.0]]), np.array([[2.0, 8.0]])
    compared, tested = same_kind(["a"], ["a", "b"], True), same_kind(["a"], ["a", "a", "b"], True)
    ranks = rank_among(scores, held_out, compared, tested, 0.5)
    assert ranks.p_value.tolist() == [[0.5, 1.0, 0.5]] and ranks.auc.tolist() == [0.5]
    assert (ranks.held_out.tolist(), ranks.tested.tolist()) == ([1], [2])
    assert not ranks.found[0, 2]
    assert same_kind(["query"], ["a", "b"], False).all()
    nothing = rank_among(scores, held_out, np.zeros((1, 2), dtype=bool), tested, 0.5)
    assert np.isnan(nothing.p_value).all() and not nothing.found.any()


def rows(folder: Path, name: str, gradients: np.ndarray, width: int = WIDTH, **metadata: Any) -> GradientRows:
    ids = [f"{name}/{place}" for place in range(len(gradients))]
    shard = write_gradients(folder / f"{name}.safetensors", ids, gradients, **metadata)
    return GradientRows([shard], compress_shards([shard], width, folder / f"{name}.npy"))


def test_sketch_error_is_that_of_other_sketches(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    # Gradients that are alike at neighbouring timesteps, whose errors go together, and alike between images.
    common = generator.standard_normal((1, 1, 400))
    gradients = generator.standard_normal((3, STEPS, 400)) + common + generator.standard_normal((3, 1, 400))
    unit = gradients / np.linalg.norm(gradients, axis=-1, keepdims=True)
    drawn = []
    for seed in range(400):
        sketch = CountSketch(400, WIDTH, seed).apply(torch.from_numpy(unit.reshape(-1, 400)).float()).numpy()
        folded = fold(sketch.reshape(3, STEPS, -1), 16)
        drawn.append([np.sum(folded[0] * folded[place]) for place in (1, 2)])
    wanted = np.std(drawn, axis=0)
    queries = rows(tmp_path, "q", gradients[:1], 16, cache_dim=WIDTH)
    train = rows(tmp_path, "t", gradients[1:], 16, cache_dim=WIDTH)
    found = np.sqrt(score_errors(queries, train, np.array([[0, 1]]), "unit").sketch[0])
    # Of one sketch the variance is itself an estimate.
    assert (found > 0.75 * wanted).all() and (found < 1.4 * wanted).all()


def test_probe_error_is_the_jackknife(tmp_path: Path) -> None:
    gradients = np.random.default_rng(4).standard_normal((4, STEPS, WIDE))
    shards = [
        write_gradients(tmp_path / f"{name}.safetensors", [name, name + "2"], part)
        for name, part in (("q", gradients[:2]), ("t", gradients[2:]))
    ]
    queries, train = (GradientRows([shard], None) for shard in shards)
    errors = score_errors(queries, train, np.array([[1, 0], [0, 1]]), "raw")
    terms = np.einsum("tw,tw->t", gradients[0], gradients[3])
    without = [STEPS * np.delete(terms, step).mean() for step in range(STEPS)]
    wanted = (STEPS - 1) / STEPS * np.sum((np.array(without) - np.mean(without)) ** 2)
    assert errors.probe[0, 0] == pytest.approx(wanted, rel=1e-2)
    assert (errors.sketch == 0).all()
    one = ScoreErrors(errors.sketch, np.full((2, 2), np.nan), 1)
    assert np.isnan(one.interval(np.zeros((2, 2)), 0.95)).all()


def test_intervals_cover_the_score_of_other_sketches_and_timesteps() -> None:
    generator = np.random.default_rng(5)
    steps, width, inside = 10, 64, []
    for _ in range(400):
        mean, spread = generator.uniform(-0.2, 0.5), generator.uniform(0.01, 0.2)
        sketch = (1 + mean**2) * steps / width
        terms = generator.normal(mean, spread, steps)
        scored = terms.sum() + generator.normal(0, np.sqrt(sketch))
        errors = ScoreErrors(np.array([[sketch]]), np.array([[steps * terms.var(ddof=1)]]), steps)
        low, high = errors.interval(np.array([[scored]]), 0.95)[:, 0, 0]
        inside.append(low <= steps * mean <= high)
    assert 0.92 <= np.mean(inside) <= 0.985


def test_a_sketch_as_wide_as_the_gradient_has_no_error() -> None:
    assert cell_share({"P": 64, "cache_dim": 64}, 64) == 0
    assert cell_share({"P": 1000, "cache_dim": 100}, 10) == pytest.approx(99 / 999)


def planted() -> dict[str, np.ndarray]:
    """Return gradients by side: subsets stand around two directions; copies of each query are among the training."""
    generator = np.random.default_rng(6)

    def draw(count: int) -> np.ndarray:
        values = generator.standard_normal((2, count, STEPS, WIDE))
        values[0, :, :, 0] += 6
        values[1, :, :, 0] -= 6
        return values

    queries, train, held_out = draw(ASKED), draw(TRAINED), draw(HELD_OUT)
    copies = np.repeat(queries, COPIES, axis=1)
    train[:, : ASKED * COPIES] = copies + 0.1 * generator.standard_normal(copies.shape)
    return {name: part.reshape(-1, STEPS, WIDE) for name, part in (("q", queries), ("t", train), ("h", held_out))}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """The inputs and outputs of a scoring job with held-out images, in whose training set are copies of queries."""
    files, tables = {}, {}
    for side, gradients in planted().items():
        ids = [f"{side}/{place}" for place in range(len(gradients))]
        shard = write_gradients(tmp_path / f"{side}.safetensors", ids, gradients)
        files[side] = GradientFiles([shard], compress_shards([shard], WIDTH, tmp_path / f"{side}.npy"))
        tables[side] = tmp_path / f"{side}.parquet"
        images = pd.Series([{"bytes": f"{name} {side != 'q'}".encode(), "path": None} for name in ids], dtype=object)
        subsets = ["a"] * (len(ids) // 2) + ["b"] * (len(ids) // 2)
        write_samples(pd.DataFrame({"id": ids, "subset": subsets, "image": images}), tables[side])
    out = [tmp_path / name for name in ("scores.npy", "scores.json", "top.parquet", "metrics.json")]
    return {
        "method": "dmin",
        "sides": GradientSides(files["q"], files["t"], files["h"]),
        "tables": SampleTables(tables["q"], tables["t"], tables["h"]),
        "options": options(),
        "lists": lists(top_k=20),
        "files": ScoreFiles(*out),
    }


def copies_of(query: int) -> set[str]:
    """Return the planted copies of a query."""
    subset, place = divmod(query, ASKED)
    return {f"t/{subset * TRAINED + place * COPIES + copy}" for copy in range(COPIES)}


@pytest.mark.parametrize("method", ["dmin", "dmin_no_norm", "grad_cos", "dmin_centred", "trak"])
def test_planted_duplicates_are_all_significant(method: str, job: dict[str, Any]) -> None:
    score(**{**job, "method": method})
    top = pd.read_parquet(job["files"].top)
    facts = json.loads(job["files"].description.read_text())["significance"]
    assert facts["held_out"] == [HELD_OUT] * 4 and facts["tested"] == [TRAINED] * 4
    for query in range(2 * ASKED):
        mine = top[top["query_id"] == f"q/{query}"]
        found = set(mine.loc[mine["significant"].astype(bool), "sample_id"])
        assert copies_of(query) <= found and len(found) < 2 * COPIES, method
        assert facts["significant"][query] == len(found)
    assert top["p_value"].min() == pytest.approx(1 / (HELD_OUT + 1))
    assert top["low"].isna().all() == (METHODS[method].entry.terms == "")


def test_scores_are_the_same_with_held_out_images_and_without(job: dict[str, Any]) -> None:
    written = []
    for held_out in (job["sides"].held_out, None):
        score(**{**job, "sides": replace(job["sides"], held_out=held_out)})
        top = pd.read_parquet(job["files"].top)
        written.append((job["files"].scores.read_bytes(), top[["rank", "sample_id", "score", "low"]]))
    assert written[0][0] == written[1][0]
    pd.testing.assert_frame_equal(written[0][1], written[1][1])
    assert top[["p_value", "significant"]].isna().all(axis=None), "nothing was held out"


def test_a_query_that_is_a_held_out_image_is_not_compared_with_itself(job: dict[str, Any], tmp_path: Path) -> None:
    held_out = pd.read_parquet(job["tables"].held_out)
    held_out.at[0, "image"] = pd.read_parquet(job["tables"].queries).at[0, "image"]
    write_samples(held_out, tmp_path / "h.parquet")
    score(**{**job, "lists": lists(top_k=20, own_images=True)})
    facts = json.loads(job["files"].description.read_text())["significance"]
    assert facts["held_out"] == [HELD_OUT - 1, *[HELD_OUT] * 3]


def test_held_out_gradients_under_other_settings_are_refused(job: dict[str, Any], tmp_path: Path) -> None:
    ids = [f"h/{place}" for place in range(2 * HELD_OUT)]
    shard = write_gradients(tmp_path / "o.safetensors", ids, planted()["h"], timesteps=[800, 500, 100])
    other = GradientFiles([shard], compress_shards([shard], WIDTH, tmp_path / "o.npy"))
    for method in ("dmin", "trak"):
        with pytest.raises(UserError, match="timesteps"):
            score(**{**job, "method": method, "sides": replace(job["sides"], held_out=other)})


@pytest.mark.parametrize("method", ["dmin", "dmin_renorm", "dmin_centred", "grad_dot", "trak", "dmin_kernel"])
def test_joined_rows_score_as_rows_of_one_file(method: str, tmp_path: Path) -> None:
    gradients = np.random.default_rng(7).standard_normal((9, STEPS, WIDE))
    queries = rows(tmp_path, "q", gradients[:2])
    one = rows(tmp_path, "one", gradients[2:])
    joined = JoinedRows(rows(tmp_path, "t", gradients[2:6]), rows(tmp_path, "h", gradients[6:]))
    assert joined.shape == one.shape and joined.v == one.v and joined.metadata.keys() >= METADATA.keys()
    both = [METHODS[method].scores(queries, train, options()) for train in (one, joined)]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)


def test_ranking_says_what_is_significant(job: dict[str, Any]) -> None:
    score(**job)
    top = pd.read_parquet(job["files"].top)
    samples = pd.DataFrame({"id": top["sample_id"].unique()}).assign(prompt="", origin="a.png")
    table = ranking_table(top, samples, dict.fromkeys(top["query_id"], ""))
    first = table.iloc[0].to_dict()
    assert first["significant"] is True and first["p_value"] == round(1 / (HELD_OUT + 1), 6)
    assert first["low"] < first["score"] < first["high"]
    assert {*table["significant"]} == {True, False}


def test_table_says_for_how_many_queries_there_is_an_answer(job: dict[str, Any], tmp_path: Path) -> None:
    score(**job)
    other = tmp_path / "other" / "scores.npy"
    score(**{**job, "files": replace(job["files"], scores=other, description=other.with_suffix(".json"))})
    silent = tmp_path / "silent" / "scores.npy"
    silent.parent.mkdir()
    silent.with_suffix(".json").write_text(json.dumps({"queries": ["q/0"], "train": ["t/0"]}))
    entries = [
        Attribution("dmin", "32", job["files"].top, [job["files"].scores, other]),
        Attribution("random", "", tmp_path / "none.parquet", [silent]),
    ]
    evaluate_significance(entries, job["lists"], tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv", dtype={"v": str})
    assert list(table.columns) == COLUMNS
    first, second = table.iloc[0], table.iloc[1]
    assert (first["answered"], first["high"], first["held_out"], first["tested"]) == (1, 1, HELD_OUT, TRAINED)
    assert 0.3 < first["low"] < 0.7, "Wilson's interval of four of four"
    # 60 images at .1 and a least p-value of 1 / 151.
    assert first["needed"] == 4 and first["significant"] >= COPIES and 0.5 < first["auc"] < 0.8
    assert 0 < first["sketch_error"] < 1 and first["probe_error"] > 0
    assert first["seed_error"] == 0 and first["seed_coverage"] == 1
    assert second.drop(["method", "v", "queries", "fdr"]).isna().all()
