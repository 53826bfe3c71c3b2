"""What significance and intervals claim, held against a truth that was planted in the gradients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients
from schema_defaults import lists, options
from scipy.stats import kstest

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.attribution.score_errors import score_errors
from dmin.data.samples import write_samples
from dmin.evaluation.significance import Attribution, evaluate_significance

# Runs, each with a query of each of so many subsets; training and held-out images of each, and those among them that
# have an influence.
RUNS, ASKED, TRAINED, HELD_OUT, PLANTED = 5, 40, 30, 100, 6
WIDE, STEPS = 48, 3


@dataclass(frozen=True)
class Planted:
    """Scored runs in whose sketches the truth is known.

    Attributes:
        top: every training image of every query's subset, ranked; ``planted`` says which have an influence.
        auc: of every query.
    """

    top: pd.DataFrame
    auc: list[float]

    @property
    def false_discovery_rate(self) -> float:
        """The mean over queries of the share of significant images that have no influence."""
        found = self.top[self.top["significant"].astype(bool)]
        false = (~found["planted"]).groupby(found["query_id"]).mean()
        return float(false.sum() / (RUNS * ASKED))

    @property
    def answered(self) -> float:
        """The share of queries with a significant image."""
        return float(self.top.groupby("query_id")["significant"].any().mean())


def draw(generator: np.random.Generator, queries: np.ndarray, count: int, planted: int, strength: float) -> np.ndarray:
    """Return gradients of ``count`` images of each query's subset, the first of which have a part of the query's.

    All lean towards their query, as images of its subset do, influence or not.
    """
    values = generator.standard_normal((ASKED, count, STEPS, WIDE)) + 0.3 * queries
    values[:, :planted] += strength * queries
    return values.reshape(-1, STEPS, WIDE)


def run(folder: Path, trained: int, held_out: int, strength: float = 1.2, method: str = "dmin") -> Planted:
    """Score runs with so many images of influence among the training images and the held-out ones of each query."""
    found = [scored(folder / str(seed), (trained, held_out), strength, method, seed) for seed in range(RUNS)]
    tables = [table.assign(query_id=f"{seed}/" + table["query_id"]) for seed, (table, _) in enumerate(found)]
    top = pd.concat(tables)
    place = top["sample_id"].str.removeprefix("t/").astype(int) % TRAINED
    return Planted(top.assign(place=place, planted=place < trained), [auc for _, facts in found for auc in facts])


def scored(
    folder: Path, planted: tuple[int, int], strength: float, method: str, seed: int
) -> tuple[pd.DataFrame, list[float]]:
    """Return the lists of one run, of each query's subset alone, and what scoring says of its queries."""
    generator = np.random.default_rng(seed)
    queries = generator.standard_normal((ASKED, 1, STEPS, WIDE))
    sides = {
        "q": queries.reshape(ASKED, STEPS, WIDE),
        "t": draw(generator, queries, TRAINED, planted[0], strength),
        "h": draw(generator, queries, HELD_OUT, planted[1], strength),
    }
    files, tables = {}, {}
    for side, gradients in sides.items():
        ids = [f"{side}/{place}" for place in range(len(gradients))]
        shard = write_gradients(folder / f"{side}.safetensors", ids, gradients)
        files[side] = GradientFiles([shard], compress_shards([shard], 32, folder / f"{side}.npy"))
        tables[side] = folder / f"{side}.parquet"
        subsets = np.repeat([f"s{place}" for place in range(ASKED)], len(ids) // ASKED)
        images = pd.Series([{"bytes": name.encode(), "path": None} for name in ids], dtype=object)
        write_samples(pd.DataFrame({"id": ids, "subset": subsets, "image": images}), tables[side])
    out = ScoreFiles(*(folder / name for name in ("scores.npy", "scores.json", "top.parquet", "metrics.json")))
    score(
        method,
        GradientSides(files["q"], files["t"], files["h"]),
        SampleTables(tables["q"], tables["t"], tables["h"]),
        options(),
        lists(top_k=ASKED * TRAINED),
        out,
    )
    top = pd.read_parquet(out.top)
    facts = json.loads(out.description.read_text())["significance"]
    assert facts["held_out"] == [HELD_OUT] * ASKED and facts["tested"] == [TRAINED] * ASKED
    return top[top["query_subset"] == top["sample_subset"]], facts["auc"]


@pytest.mark.parametrize("method", ["dmin", "dmin_no_norm"])
def test_of_what_is_found_in_sketches_the_promised_share_is_true(method: str, tmp_path: Path) -> None:
    found = run(tmp_path, PLANTED, 0, method=method)
    power = found.top.loc[found.top["planted"], "significant"].mean()
    assert found.false_discovery_rate <= 0.12 and power > 0.8, (found.false_discovery_rate, power)
    assert np.mean(found.auc) > 0.55


def test_without_influence_p_values_are_uniform_and_lists_silent(tmp_path: Path) -> None:
    found = run(tmp_path, 0, 0)
    one = found.top[found.top["place"] == 0]
    assert len(one) == RUNS * ASKED and kstest(one["p_value"], "uniform").pvalue > 0.05
    assert found.false_discovery_rate <= 0.12
    assert np.mean(found.auc) == pytest.approx(0.5, abs=0.02)


def test_duplicates_are_not_significant_where_as_alike_images_were_held_out(tmp_path: Path) -> None:
    both = run(tmp_path / "both", PLANTED, HELD_OUT * PLANTED // TRAINED, strength=40)
    assert both.answered <= 0.12 and both.top.loc[both.top["planted"], "p_value"].mean() > 0.05
    held_out = run(tmp_path / "held_out", 0, PLANTED, strength=40)
    assert held_out.answered <= 0.12


def test_intervals_of_sketched_scores_cover_that_of_infinitely_many_probes(tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    wide, cells, steps, inside = 600, 64, 10, []
    places = np.tile(np.arange(5), (4, 1))
    for number in range(30):
        # What a gradient is on average over noises, and the gradients under those that were drawn.
        means = generator.standard_normal((9, 1, wide)) + 0.7 * generator.standard_normal((1, 1, wide))
        drawn = (means + 1.5 * generator.standard_normal((9, steps, wide))) / np.sqrt(wide)
        sides = []
        for side, part in (("q", drawn[:4]), ("t", drawn[4:])):
            ids = [f"{side}/{place}" for place in range(len(part))]
            path = tmp_path / f"{number}{side}.safetensors"
            about = {"cache_dim": cells, "sketch_seed": number, "timesteps": list(range(steps))}
            shard = write_gradients(path, ids, part, **about)
            sides.append(GradientRows([shard], compress_shards([shard], cells, path.with_suffix(".npy"))))
        queries, train = sides
        scores = np.einsum(
            "qtw,ntw->qn", queries.all() * queries.norms[:, :, None], train.all() * train.norms[:, :, None]
        )
        truth = steps * np.einsum("qw,nw->qn", means[:4, 0], means[4:, 0]) / wide
        low, high = score_errors(queries, train, places, "raw").interval(scores.astype(np.float64), 0.95)
        inside.append(((low <= truth) & (truth <= high)).mean())
    assert 0.9 <= np.mean(inside) <= 0.995, np.mean(inside)


@pytest.mark.parametrize(("shift", "covered"), [(0.0, 1.0), (0.5, 1.0), (3.0, 0.0)])
def test_table_says_how_often_intervals_hold_the_scores_of_another_model(
    shift: float, covered: float, tmp_path: Path
) -> None:
    values = np.random.default_rng(10).standard_normal((3, 12)).astype(np.float32)
    ids = {"queries": [f"q/{row}" for row in range(3)], "train": [f"t/{row}" for row in range(12)]}
    paths = [tmp_path / name / "scores.npy" for name in ("mine", "other")]
    for path, moved in zip(paths, (0.0, shift), strict=True):
        path.parent.mkdir()
        np.save(path, values + np.float32(moved))
        path.with_suffix(".json").write_text(json.dumps(ids))
    order = np.argsort(-values, axis=1)[:, :4]
    listed = np.take_along_axis(values, order, axis=1).reshape(-1)
    top = pd.DataFrame(
        {
            "query_id": np.repeat(ids["queries"], 4),
            "sample_id": [ids["train"][place] for place in order.reshape(-1)],
            "low": listed - 1,
            "high": listed + 1,
        }
    )
    # Lists may stand in any order.
    top.iloc[::-1].to_parquet(tmp_path / "top.parquet")
    entry = Attribution("dmin", "32", tmp_path / "top.parquet", paths)
    evaluate_significance([entry], lists(top_k=4), tmp_path / "table.csv")
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    assert row["seed_coverage"] == covered
    spread = values.std(1, dtype=np.float64)
    assert row["seed_error"] == pytest.approx(np.mean(np.sqrt(shift**2 / 2) / spread), rel=1e-4)
