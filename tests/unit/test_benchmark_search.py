"""The search benchmark at a small size, and its table in step with its measurements."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from warm import warm_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_small_trial_measures_every_search_and_leaves_no_store(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    sizes = ("--cases", "600x512", "--queries", "15", "--ranks", "16", "64")
    command = [warm_python(), str(BENCHMARKS / "search.py"), *sizes, "--scratch", str(scratch), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    table = pd.read_csv(out / "search.csv")
    assert table["backend"].tolist() == ["exact", "cascade", "cascade", "hnsw"]
    exact = table[table["backend"] != "hnsw"]
    assert (exact["recall"] == 1).all() and (exact["wrong_lists"] == 0).all()
    assert (table["p50_ms"] > 0).all() and (table["p50_ms"] <= table["p95_ms"]).all()
    assert not list(scratch.iterdir())


def test_table_is_in_step_with_its_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from page_part import SCALING
    from search_page import write_search_table

    shutil.copy(SCALING, tmp_path)
    write_search_table(pd.read_csv(BENCHMARKS / "results" / "search.csv"), tmp_path / SCALING.name)
    assert (tmp_path / SCALING.name).read_text() == SCALING.read_text()
