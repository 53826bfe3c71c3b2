"""The scaling benchmark at a small size, and its page in step with its table."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from warm import warm_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_small_trial_measures_everything_and_leaves_no_store(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    sizes = ("--rows", "300", "600", "--index-rows", "300", "--width", "512", "--folded", "64", "--repeats", "1")
    command = [warm_python(), str(BENCHMARKS / "scaling.py"), *sizes, "--scratch", str(scratch), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    table = pd.read_csv(out / "scaling.csv")
    assert table[table["rows"] == 300]["operation"].tolist() == [
        "compress", "read", "scan", "scan_queries", "read_cold", "scan_cold", "build_index", "search_index",
    ]  # fmt: skip
    assert set(table[table["rows"] == 600]["operation"]).isdisjoint({"build_index", "search_index"})
    assert (table["seconds"] > 0).all()
    assert table["recall"].dropna().tolist() == [pytest.approx(1.0, abs=0.02)]
    assert not list(scratch.iterdir())


def test_page_is_in_step_with_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from scaling_page import write_scaling_page

    shutil.copy(BENCHMARKS / "results" / "scaling.csv", tmp_path)
    write_scaling_page(tmp_path)
    for name in ("scaling.md", "scaling.svg"):
        assert (tmp_path / name).read_bytes() == (BENCHMARKS / "results" / name).read_bytes(), name


def test_worked_example_is_in_step_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling_example

    page = tmp_path / "scaling.md"
    shutil.copy(scaling_example.PAGE, page)
    scaling_example.update_page(page, pd.read_csv(scaling_example.RESULTS))
    assert page.read_text() == scaling_example.PAGE.read_text(), "run python benchmarks/scaling_example.py"
