"""The benchmark of the explorer at a small size, and its table in step with its measurements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from chromium import find_chromium

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed: chromium, or google-chrome")
def test_every_action_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import explorer_waits

    program = find_chromium()
    assert program is not None
    table = explorer_waits.measure(tmp_path, program, (40, 4), 2)
    assert table["action"].tolist() == [explorer_waits.OPENED, *explorer_waits.ACTIONS]
    assert (table["least_ms"] > 0).all() and (table["median_ms"] <= table["greatest_ms"]).all()


def test_page_is_in_step_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import explorer_waits

    told = explorer_waits.waits(pd.read_csv(explorer_waits.RESULTS / "explorer.csv"))
    assert told in explorer_waits.PAGE.read_text(encoding="utf-8"), (
        "run python benchmarks/explorer_waits.py --page-only"
    )
