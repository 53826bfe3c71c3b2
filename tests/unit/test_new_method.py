"""A method is one file: dropped into the folder of methods, it is found, scored, evaluated and drawn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients

from dmin.data.samples import write_samples

LIBRARY = Path(__file__).parents[2] / "scripts" / "dmin"

TOY = '''
"""A ridge kernel over summed unit gradients."""

from dmin.attribution.gradient_rows import require_equal_settings
from dmin.attribution.ridge_problem import RidgeProblem

METHOD = {
    "inputs": "gradients",
    "summary": "A toy.",
    "score": "toy",
    "range": "no unit",
    "caches": ("loss", "loss"),
    "options": ("relative_lambda",),
    "kernel": True,
}


def ridge(queries, train):
    require_equal_settings(queries, train)
    left, right = queries.all().sum(1), train.all().sum(1)
    return RidgeProblem(right @ right.T, left @ right.T)
'''

USE = """
import json
from pathlib import Path

import pandas as pd

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.catalogue.methods import GRADIENT_METHODS, KERNEL_METHODS, read_cache
from dmin.evaluation.agreement import evaluate_agreement
from dmin.evaluation.compression import Measures, score_compressed
from dmin.evaluation.detection import RankedList, evaluate_detection
from dmin.evaluation.hubness import evaluate_hubness
from dmin.evaluation.lambda_choice import SweepFiles, sweep_lambda
from dmin.figures.agreement import plot_agreement
from dmin.figures.detection import plot_detection_by_k, plot_detection_by_v
from dmin.figures.draw import draw_table
from dmin.figures.hubness import plot_hubness
from dmin.figures.main_table import plot_main_table
from dmin.figures.ranked import MethodScores, draw_score_distributions

assert "toy_kernel" in GRADIENT_METHODS and "toy_kernel" in KERNEL_METHODS
assert read_cache("toy_kernel", "train") == "loss"
options, lists = json.loads(Path("options.json").read_text())
evaluation = {"k": [2], "bootstrap": 20, "confidence": 0.9, "seed": 0}
queries, train = (GradientFiles([Path(f"{side}.safetensors")], Path(f"{side}.npy")) for side in ("queries", "train"))
sides = GradientSides(queries, train)
tables = SampleTables(Path("queries.parquet"), Path("train.parquet"))
scores, tops = {}, []
for method in ("dmin", "toy_kernel"):
    folder = Path(method, "v16")
    top, metrics = folder / "exact" / "top.parquet", folder / "scores.metrics.json"
    files = ScoreFiles(folder / "scores.npy", folder / "scores.json", top, metrics)
    score(method, sides, tables, options, lists, files)
    scores[method] = files.scores
    tops.append(RankedList.at(files.top))
evaluate_detection(tops, tables.train, evaluation, Path("detection.csv"))
evaluate_hubness(tops, tables.train, evaluation, Path("hubness.csv"))
evaluate_agreement(scores, 2, evaluation["confidence"], Path("agreement.csv"))
sweep_lambda("toy_kernel", sides, tables, options, [2], SweepFiles(Path("lambda.csv"), Path("held_out.parquet")))
formats = {"widths": [8], "storage": ["int8"]}
score_compressed("toy_kernel", sides, options, formats, Measures(tables, evaluation), Path("compression.csv"))
for plot, table in (
    (plot_detection_by_k, "detection"), (plot_detection_by_v, "detection"), (plot_main_table, "detection"),
    (plot_hubness, "hubness"), (plot_agreement, "agreement"),
):
    draw_table(plot, f"{table}.csv", [f"{plot.__name__}.svg"], 50)
draw_score_distributions(MethodScores(scores["toy_kernel"], "toy_kernel", "16"), tables, True, [Path("scores.svg")], 50)
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that was made of two methods by a copy of the library that holds one file more."""
    from schema_defaults import lists, options

    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(LIBRARY, folder / "scripts" / "dmin", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "scripts" / "dmin" / "attribution" / "methods" / "toy_kernel.py").write_text(TOY)
    (folder / "options.json").write_text(json.dumps([options(), lists(top_k=5)]))
    generator = np.random.default_rng(0)
    for side, count in (("train", 30), ("queries", 8)):
        ids = [f"{side}/{number}" for number in range(count)]
        shard = write_gradients(folder / f"{side}.safetensors", ids, generator.standard_normal((count, 3, 48)))
        compress_shards([shard], 16, folder / f"{side}.npy")
        write_samples(pd.DataFrame({"id": ids, "subset": ["a", "b"] * (count // 2)}), folder / f"{side}.parquet")
    environment = {**os.environ, "PYTHONPATH": str(folder / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", USE], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_dropped_file_is_scored_and_evaluated(used: Path) -> None:
    values = np.load(used / "toy_kernel" / "v16" / "scores.npy")
    assert values.shape == (8, 30) and np.isfinite(values).all() and values.std() > 0
    facts = json.loads((used / "toy_kernel" / "v16" / "scores.json").read_text())
    assert facts["method"] == "toy_kernel" and facts["relative_lambda"] == 0.1
    for table in ("detection", "hubness", "agreement", "lambda", "compression"):
        assert "toy_kernel" in set(pd.read_csv(used / f"{table}.csv")["method"]), table


@pytest.mark.parametrize(
    "figure",
    ["plot_detection_by_k", "plot_detection_by_v", "plot_main_table", "plot_hubness", "plot_agreement", "scores"],
)
def test_figures_draw_it_under_its_name(used: Path, figure: str) -> None:
    assert "toy kernel" in (used / f"{figure}.svg").read_text()
