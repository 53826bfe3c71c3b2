"""The choice of lambda: one decomposition, chosen on one half of the queries, measured on the other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients
from schema_defaults import options, options_of

from dmin.attribution import ridge
from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS
from dmin.attribution.ridge_problem import RidgeProblem
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.evaluation.joined_table import join_runs, join_tables
from dmin.evaluation.lambda_choice import (
    SweepFiles,
    compare_choices,
    crossed_choices,
    detection_yardsticks,
    judge_grid,
    sweep_lambda,
)
from dmin.runtime.errors import UserError

GRID = [0.01, 0.1, 1.0, 10.0]
KERNELS = [name for name, method in METHODS.items() if method.ridge]


def _problem() -> tuple[RidgeProblem, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    train, asked = generator.standard_normal((15, 40)), generator.standard_normal((6, 40))
    return RidgeProblem(train @ train.T, asked @ train.T), train @ train.T, asked @ train.T


def _of_lambda(values: dict[float, list[float]]) -> Any:
    """Return a yardstick that gives each lambda of the grid the wanted values by query, whatever its name."""
    problem, _, _ = _problem()
    known = {value: problem.solve(value) for value in [*GRID, 0.5]}

    def judge(scores: np.ndarray) -> dict[str, np.ndarray]:
        found = next(value for value, solved in known.items() if np.array_equal(solved, scores))
        return {"LDS": np.array(values[found])}

    return judge


def test_grid_solve_equals_direct_inverses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    eigh = np.linalg.eigh

    def counted(matrix: np.ndarray) -> Any:
        calls.append(1)
        return eigh(matrix)

    monkeypatch.setattr(ridge.np.linalg, "eigh", counted)
    problem, gram, cross = _problem()
    for relative in GRID:
        penalty = relative * np.trace(gram) / len(gram)
        np.testing.assert_allclose(
            problem.solve(relative), cross @ np.linalg.inv(gram + penalty * np.eye(15)), atol=1e-8
        )
    assert len(calls) == 1


def test_choices_are_made_on_one_half_and_measured_on_the_other() -> None:
    first = np.array([True, False] * 3)
    values = {
        0.01: [0.9, 0.1] * 3,
        0.1: [0.2, 0.8] * 3,
        1.0: [0.9, 0.3] * 3,
        10.0: [0.0, 0.8] * 3,
        0.5: [0.5, 0.6] * 3,
    }
    judged = judge_grid(_problem()[0], GRID, 0.5, _of_lambda(values))
    rows = compare_choices(judged, GRID, 0.5, first)
    found = {row["choice"]: (row["relative_lambda"], row["value"], row["queries"], row["yardstick"]) for row in rows}
    # Of equal values the largest lambda is taken: 1 over 0.01, and 10 over 0.1.
    assert found == {
        "held_out": (1.0, pytest.approx(0.3), 3, "LDS"),
        "oracle": (10.0, pytest.approx(0.8), 3, "LDS"),
        "default": (0.5, pytest.approx(0.6), 3, "LDS"),
    }
    # What ranks a half was chosen on the other.
    assert crossed_choices(judged, GRID, first) == (10.0, 1.0)


def test_detection_yardstick_counts_the_first_k() -> None:
    own = np.array([[True, False, False, True], [False, True, True, True]])
    scores = np.array([[4.0, 3, 2, 1], [4, 3, 2, 1]])
    judged = detection_yardsticks(own, [1, 2, 4])(scores)
    assert {name: values.tolist() for name, values in judged.items()} == {
        "DR@1": [1, 0], "DR@2": [0.5, 0.5], "DR@4": [0.5, 0.75],
    }  # fmt: skip


def test_singular_values_of_the_grid_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    problem = RidgeProblem(np.ones((4, 4)), np.ones((2, 4)))
    judge, first = detection_yardsticks(np.ones((2, 4), bool), [1]), np.array([True, False])
    with caplog.at_level(logging.WARNING):
        rows = compare_choices(judge_grid(problem, [1e-17, 0.1], 0.1, judge), [1e-17, 0.1], 0.1, first)
    assert {row["relative_lambda"] for row in rows} == {0.1}
    assert "left out of the grid" in caplog.text and "singular at relative_lambda 1e-17" in caplog.text
    with pytest.raises(UserError, match=r"lambda_grid ends at 1e-17, where the kernel is singular; raise it"):
        judge_grid(problem, [1e-17], 0.1, judge)
    with pytest.raises(UserError, match=r"singular at relative_lambda 1e-17"):
        judge_grid(problem, [0.1], 1e-17, judge)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(4)
    centre = generator.standard_normal((2, 3, 48))
    found = {}
    for name, count in (("train", 30), ("queries", 8)):
        ids = [f"{name}/{place}" for place in range(count)]
        values = generator.standard_normal((count, 3, 48)) + centre[np.arange(count) % 2]
        found[name] = write_gradients(folder / f"{name}.safetensors", ids, values)
        write_samples(pd.DataFrame({"id": ids, "subset": ["a", "b"] * (count // 2)}), folder / f"{name}.parquet")
    return found


@pytest.mark.parametrize("method", KERNELS)
@pytest.mark.parametrize("width", [None, 16])
def test_the_sweep_measures_what_scores_of_that_lambda_do(
    method: str, width: int | None, files: dict[str, Path], tmp_path: Path
) -> None:
    sketches = {
        name: None if width is None else compress_shards([path], width, tmp_path / f"{name}.npy")
        for name, path in files.items()
    }
    sides = GradientSides(*(GradientFiles([files[name]], sketches[name]) for name in ("queries", "train")))
    tables = SampleTables(*(files[name].with_suffix(".parquet") for name in ("queries", "train")))
    given = options_of(method, "lambda_grid", "seed", lambda_grid=GRID, relative_lambda=0.5)
    sweep_lambda(method, sides, tables, given, [2, 5], SweepFiles(tmp_path / "lambda.csv", tmp_path / "top.parquet"))
    table = pd.read_csv(tmp_path / "lambda.csv", dtype={"v": str})
    assert list(table.columns) == ["method", "v", "relative_lambda", "choice", "yardstick", "value", "queries"]
    assert table["yardstick"].value_counts().to_dict() == {"DR@2": 3, "DR@5": 3}
    assert (table["queries"] == 4).all() and set(table["v"]) == {str(width or "full")}
    by_choice = table.pivot_table(values="value", index="yardstick", columns="choice")
    assert (by_choice["oracle"] >= by_choice["held_out"]).all()
    train, queries = (GradientRows([files[name]], sketches[name]) for name in ("train", "queries"))
    whole = METHODS[method].ridge
    assert whole is not None
    for value in GRID:
        scores = METHODS[method].scores(queries, train, options(relative_lambda=value))
        np.testing.assert_allclose(whole(queries, train).solve(value), scores, atol=1e-5 * np.abs(scores).max())
    top = pd.read_parquet(tmp_path / "top.parquet")
    assert (top.groupby("query_id").size() == 5).all() and top["query_id"].nunique() == 8
    best = {query: set(found) for query, found in top[top["rank"] == 1].groupby("query_id")["sample_id"]}
    firsts = [
        dict(
            zip(queries.ids, (train.ids[place] for place in whole(queries, train).solve(value).argmax(1)), strict=True)
        )
        for value in GRID
    ]
    assert all(best[query] <= {known[query] for known in firsts} for query in queries.ids)


def test_methods_without_a_kernel_are_refused(tmp_path: Path) -> None:
    nothing, tables = GradientFiles([]), SampleTables(tmp_path / "q.parquet", tmp_path / "t.parquet")
    with pytest.raises(UserError, match="Method dmin has no kernel, so no lambda to choose"):
        sweep_lambda(
            "dmin",
            GradientSides(nothing, nothing),
            tables,
            options(),
            [1],
            SweepFiles(tmp_path / "lambda.csv", tmp_path / "top"),
        )


def test_joined_parts_keep_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v,rate\nfull,0.10\n,1\n")
    (tmp_path / "b.csv").write_text("v,rate\n64,1e-05\n")
    join_tables([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "v,rate\nfull,0.10\n,1\n64,1e-05\n"


def test_runs_are_joined_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v,rate\n64,0.10\n,0.2\n")
    (tmp_path / "b.csv").write_text("v,k\n256,5\n")
    join_runs(["x", "y"], [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().split() == ["run,v,rate,k", "x,64,0.10,", "x,,0.2,", "y,256,,5"]
