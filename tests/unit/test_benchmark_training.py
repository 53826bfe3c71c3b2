"""The training benchmark at a small size, and its table in step with its measurements."""

from __future__ import annotations

import multiprocessing.dummy
import shutil
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_trial_times_steps_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training
    from training_cases import run_case

    # Threads in place of processes, which have everything imported.
    rows = training.measure(["small DDPM, together", "matrix product"], 1, 1, multiprocessing.dummy, run_case)
    table = pd.DataFrame(rows).set_index("case")
    assert table["members"].to_dict() == {"small DDPM, together": 8, "matrix product": 1}
    assert (table["cpu_ms"] > 0).all() and table["device"].str.endswith("1 thread").all()
    # Operations of a step of one model at the speed of the product, which takes as long as it takes.
    assert table.loc["matrix product", "limit_ms"] == pytest.approx(table.loc["matrix product", "cpu_ms"])
    assert 1.1e9 < table.loc["small DDPM, together", "flop"] < 1.3e9


def test_table_is_in_step_with_its_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from page_part import SCALING
    from training_page import write_training_table

    shutil.copy(SCALING, tmp_path)
    write_training_table(pd.read_csv(BENCHMARKS / "results" / "training.csv"), tmp_path / SCALING.name)
    assert (tmp_path / SCALING.name).read_text() == SCALING.read_text()
