"""Scores without gradients, from files to files, and the settings of scores with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import write_gradients
from PIL import Image
from schema_defaults import lists, options

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.attribution.score_samples import score_samples
from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.runtime.digests import file_digest, sha256
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.readers import read_json

TRAIN = ["a/1", "b/1", "a/1+noise"]
SUBSETS = {"a/1": "a", "b/1": "b", "a/1+noise": "noise", "query/a/0": "a", "query/b/0": "b"}
QUERIES = ["query/a/0", "query/b/0"]


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """The inputs and outputs of one scoring job."""
    generator = np.random.default_rng(0)
    for name, ids in (("train", TRAIN), ("queries", QUERIES)):
        pixels = generator.integers(0, 256, (len(ids), 16, 16, 3), dtype=np.uint8)
        frame = pd.DataFrame(
            {
                "id": ids,
                "subset": [SUBSETS[sample] for sample in ids],
                "prompt": [f"a {SUBSETS[sample]}" for sample in ids],
                "image": [{"bytes": encode_png(Image.fromarray(array)), "path": None} for array in pixels],
            }
        )
        write_samples(frame, tmp_path / f"{name}.parquet")
    return {
        "tables": SampleTables(queries=tmp_path / "queries.parquet", train=tmp_path / "train.parquet"),
        "options": options(encoder="efficientnet", seed=5),
        "pace": Pace("cpu", 8),
        "top_k": 2,
        "files": ScoreFiles(
            scores=tmp_path / "out" / "scores.npy",
            description=tmp_path / "out" / "scores.json",
            top=tmp_path / "out" / "exact" / "top.parquet",
            metrics=tmp_path / "out" / "scores.metrics.json",
        ),
    }


@pytest.mark.parametrize(
    "method", sorted(name for name, entry in METHODS.items() if entry.inputs in ("nothing", "samples"))
)
def test_matrix_ids_lists_and_cost_are_written(job: dict[str, Any], method: str) -> None:
    score_samples(method, **job)
    tables, files = job["tables"], job["files"]
    matrix = np.load(files.scores)
    assert matrix.shape == (2, 3) and matrix.dtype == np.float32
    facts = read_json(files.description)
    extra = {
        "clip": {"encoder": "EfficientNet-Lite0 (not CLIP)"},
        "nda": {"nda_side": 16, "nda_patch": 7, "nda_timestep": 100, "seed": 5},
        "random": {"seed": 5},
    }.get(method, {})
    made = facts.pop("provenance")
    assert made["made_from"] == {"train": file_digest(tables.train), "queries": file_digest(tables.queries)}
    assert made["sha256"] == {"scores": sha256(files.scores), "top": sha256(files.top)}
    assert facts == {"method": method, "queries": QUERIES, "train": TRAIN, **extra}
    pd.testing.assert_frame_equal(pd.read_parquet(files.top), rank_top(matrix, QUERIES, TRAIN, SUBSETS, 2))
    metrics = json.loads(files.metrics.read_text())
    assert (metrics["method"], metrics["queries"], metrics["samples"]) == (method, 2, 3)
    assert metrics["bytes"] == files.scores.stat().st_size


def test_only_needed_columns_are_read(job: dict[str, Any], tmp_path: Path) -> None:
    for path in (job["tables"].train, job["tables"].queries):
        write_samples(pd.read_parquet(path)[["id", "subset", "prompt"]], path)
    score_samples("text", **job)
    score_samples("random", **job)
    with pytest.raises(UserError, match=r"train\.parquet' has no column 'image'"):
        score_samples("pixels", **job)


def test_mistakes_are_refused_and_nothing_is_written(job: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"influence\.top_k is 4, but the training set has 3 samples"):
        score_samples("random", **{**job, "top_k": 4})
    with pytest.raises(UserError, match="Method 'nothing' is unknown"):
        score_samples("nothing", **job)
    with pytest.raises(UserError, match="Method dmin reads gradients"):
        score_samples("dmin", **job)
    assert not job["files"].scores.parent.exists()


def test_settings_reach_the_methods_on_gradients(job: dict[str, Any], tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    train = write_gradients(tmp_path / "t.safetensors", TRAIN, generator.standard_normal((3, 3, 64)))
    queries = write_gradients(tmp_path / "q.safetensors", QUERIES, generator.standard_normal((2, 3, 64)))
    sides, files = GradientSides(GradientFiles([queries]), GradientFiles([train])), job["files"]

    def run(method: str, **changes: Any) -> np.ndarray:
        score(method, sides, job["tables"], options(**changes), lists(top_k=2), files)
        return np.load(files.scores)

    matrices = []
    for value in (0.1, 2.0):
        matrices.append(run("trak", relative_lambda=value))
        facts = json.loads(files.description.read_text())
        assert facts["relative_lambda"] == value and facts["timesteps"] == [900, 500, 100]
    assert np.abs(matrices[0]).max() > 2 * np.abs(matrices[1]).max()
    with pytest.raises(UserError, match="relative_lambda is -1"):
        run("trak", relative_lambda=-1)
    with pytest.raises(UserError, match="Method ssim reads no gradients"):
        run("ssim")
