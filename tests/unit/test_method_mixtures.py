"""Methods that add up the scores of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_config import RUN, tables

from dmin.attribution.methods.dmin_scaled_pixels import scores
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_mixture import score_mixture
from dmin.data.samples import write_samples
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE
from dmin.workflow.plan_entries import planned_jobs

TRAIN, QUERIES = ["t/0", "t/1", "t/2", "t/3"], ["q/0", "q/1"]


def files(folder: Path) -> ScoreFiles:
    """Return where a scoring job writes."""
    names = {"scores": "scores.npy", "description": "scores.json", "top": "top.parquet", "metrics": "metrics.json"}
    return ScoreFiles(**{role: folder / name for role, name in names.items()})


def write_part(path: Path, values: np.ndarray, queries: list[str], train: list[str]) -> Path:
    """Write scores as a method leaves them."""
    np.save(path, values.astype(np.float32))
    path.with_suffix(".json").write_text(json.dumps({"queries": queries, "train": train}))
    return path


@pytest.fixture
def sides(tmp_path: Path) -> SampleTables:
    """The sample tables of four training samples and two queries."""
    for name, ids in (("train", TRAIN), ("queries", QUERIES)):
        write_samples(pd.DataFrame({"id": ids, "subset": "a"}), tmp_path / f"{name}.parquet")
    return SampleTables(tmp_path / "queries.parquet", tmp_path / "train.parquet")


def test_units_of_the_parts_do_not_matter() -> None:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, 3, 50))
    found = scores([1000 * left + 5, right / 7])
    plain = sum((part - part.mean(1, keepdims=True)) / part.std(1, keepdims=True) for part in (left, right))
    assert found.dtype == np.float32 and np.allclose(found, plain, atol=1e-5)
    assert np.allclose(
        scores([np.full_like(left, 3), right]),
        (right - right.mean(1, keepdims=True)) / right.std(1, keepdims=True),
        atol=1e-5,
    )


def test_parts_meet_by_id(tmp_path: Path, sides: SampleTables) -> None:
    left, right = np.random.default_rng(1).standard_normal((2, 2, 4)).astype(np.float32)
    order = [2, 0, 3, 1]
    parts = [
        write_part(tmp_path / "left.npy", left, QUERIES, TRAIN),
        write_part(tmp_path / "right.npy", right[::-1][:, order], QUERIES[::-1], [TRAIN[place] for place in order]),
    ]
    out = files(tmp_path / "out")
    score_mixture("dmin_scaled_pixels", parts, sides, 2, out)
    assert np.allclose(np.load(out.scores), scores([left, right]))
    described = json.loads(out.description.read_text())
    assert described["train"] == TRAIN and described["queries"] == QUERIES
    assert set(described[PROVENANCE]["made_from"]) == {"dmin_scaled", "pixels_centred"}
    top = pd.read_parquet(out.top)
    assert top[top["query_id"] == "q/0"]["sample_id"].iloc[0] == TRAIN[int(scores([left, right])[0].argmax())]


def test_parts_of_other_samples_and_unmixed_methods_are_refused(tmp_path: Path, sides: SampleTables) -> None:
    values = np.zeros((2, 4))
    parts = [
        write_part(tmp_path / "left.npy", values, QUERIES, TRAIN),
        write_part(tmp_path / "right.npy", values, QUERIES, [*TRAIN[:3], "t/9"]),
    ]
    with pytest.raises(UserError, match=r"^Scores '.*right.npy' are of other samples than the scores that"):
        score_mixture("dmin_scaled_pixels", parts, sides, 2, files(tmp_path / "out"))
    with pytest.raises(UserError, match=r"^Method dmin is mixed of no others; score it from its own inputs.$"):
        score_mixture("dmin", parts, sides, 2, files(tmp_path / "out"))


def test_workflow_makes_parts_that_the_run_does_not_list() -> None:
    alone, both = (
        tables(methods).runs["r"] for methods in (["dmin_scaled_pixels"], ["dmin_scaled", "dmin_scaled_pixels"])
    )
    influence = alone.influence
    assert influence.part_scores("dmin_scaled_pixels", "64") == [
        f"{RUN}/influence/dmin_scaled/v64/scores.npy",
        f"{RUN}/influence/pixels_centred/scores.npy",
    ]
    assert influence.widths("dmin_scaled_pixels") == influence.widths("dmin_scaled") == ["64", "256"]
    assert influence.caches("train") == ["loss", "loss_scaled"]
    assert influence.read_caches["dmin_scaled_pixels"] == {split: ["loss_scaled"] for split in ("train", "queries")}
    assert influence.scored == [("dmin_scaled_pixels", "64"), ("dmin_scaled_pixels", "256")]
    # A part that is listed is no further job; the index of it is.
    assert planned_jobs(both) - planned_jobs(alone) == 4
    assert influence.tops == [influence.top("dmin_scaled_pixels", v) for v in ("64", "256")]
