"""The memory benchmark at a small size, and its page in step with its table."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from warm import warm_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_small_trial_measures_what_is_asked_for(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    asked = ("--images", "20", "--large", "--cases", "assemble_dataset", "--scratch", str(scratch), "--out", str(out))
    command = [warm_python(), str(BENCHMARKS / "memory.py"), *asked]
    subprocess.run(command, check=True, capture_output=True)
    (row,) = pd.read_csv(out / "memory.csv").to_dict("records")
    assert row["job"] == "assemble_dataset" and row["images"] == 20
    assert 1 < row["own_mb"] < 500 and row["seconds"] > 0
    assert not list(scratch.iterdir())


def test_page_is_in_step_with_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import memory_page

    page = tmp_path / "scaling.md"
    shutil.copy(memory_page.SCALING, page)
    memory_page.write_memory_table(pd.read_csv(BENCHMARKS / "results" / "memory.csv"), page)
    assert page.read_text() == memory_page.SCALING.read_text(), "run python benchmarks/memory.py --page-only"


def test_what_many_images_take_follows_from_the_two_largest_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from memory_page import memory_table

    rows = [
        ("a", 100, 50.0, 60.0),
        ("a", 1000, 20.0, 20.0),
        ("a", 2000, 25.0, 31.0),
        ("b", 100, 9.0, 9.0),
        ("b", 1000, 7.0, 9.0),
    ]
    table = memory_table(pd.DataFrame(rows, columns=["job", "images", "own_mb", "resident_mb"]))
    assert "| `a` | 50 | 20 | 25 | 6 | 5.0 | 0.52 |" in table
    # Less memory for more images is none for an image, and a size that was not measured stays empty.
    assert "| `b` | 9 | 7 |  | 2 | 0.0 | 0.01 |" in table
