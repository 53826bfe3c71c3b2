"""The LDS by band of timesteps and pooled over banks, on a model whose retraining has a closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from retrained_bank import CONFIG, write_bank

from dmin.evaluation.lds import JudgingBank
from dmin.evaluation.lds_bands import Banding, evaluate_lds_bands
from dmin.evaluation.pooled_lds import PooledRun, evaluate_pooled_lds
from dmin.evaluation.retrained import Retrained, RetrainedParts
from dmin.figures.lds_bands import plot_lds_bands


@pytest.fixture
def bank(tmp_path: Path) -> dict[str, Any]:
    """Return an exactly retrained bank on disk, with the true influence, its negative and random scores."""
    return write_bank(tmp_path)


def banded(bank: dict[str, Any], noise: float) -> pd.DataFrame:
    """Two trainings whose losses follow the bank's at timesteps 0 to 400, and are noise from 500 on."""
    generator = np.random.default_rng(3)
    for path in bank["bank"].losses:
        table = pd.read_parquet(path)
        parts = []
        noises = generator.standard_normal((10, len(table))) * table["loss"].std()
        for repeat, low in np.ndindex(2, 10):
            # What one training's noise adds, the other's takes.
            drawn = noises[low] * (-1) ** repeat
            signal = table["loss"] * (low < 5)
            changes = {"low_timestep": 100 * low, "high_timestep": 100 * low + 50, "timesteps": 2, "repeat": repeat}
            parts.append(table.assign(loss=signal + drawn * (noise if low < 5 else 1), **changes))
        pd.concat(parts).to_parquet(path)
    out = bank["out"].table.with_name("bands.csv")
    evaluate_lds_bands(bank["bank"], bank["scores"], Banding([200, 500], "generated", "small"), out)
    return pd.read_csv(out)


@pytest.mark.fault("a band of timesteps at which two trainings disagree", "its ceiling is told, and no LDS ranks there")
def test_band_without_signal_is_told_and_not_ranked(bank: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        table = banded(bank, 0.1)
    assert table.groupby("method")["low_timestep"].apply(list)["true"] == [0, 200, 500]
    assert table.groupby("method")["high_timestep"].apply(list)["true"] == [150, 450, 950]
    low, silent = table[table["low_timestep"] < 500], table[table["low_timestep"] == 500]
    assert (low["ceiling"] > 0.9).all() and (silent["ceiling"] < 0.2).all()
    assert (low.loc[low["method"] == "true", "lds"] > 0.9).all() and low[["low", "high"]].notna().all(axis=None)
    assert silent[["lds", "low", "high"]].isna().all(axis=None)
    assert set(table["bank"]) == {"small"} and set(table["query_set"]) == {"generated"}
    assert "timesteps 500 to 950 have a ceiling of" in caplog.text


def test_bands_average_to_the_whole(bank: dict[str, Any]) -> None:
    banded(bank, 0.1)
    parts, whole = RetrainedParts.read(bank["bank"].losses), Retrained.read(bank["bank"].losses)
    bands = [found.losses for _, _, found in parts.bands([200, 500])]
    np.testing.assert_allclose(0.2 * bands[0] + 0.3 * bands[1] + 0.5 * bands[2], whole.losses)
    assert [place[:2] for place in parts.bands([])] == [(0, 950)]


def pooled(bank: dict[str, Any], *settings: tuple[str, str, str], **renamed: str) -> pd.DataFrame:
    judging: JudgingBank = bank["bank"]
    scores = {new: bank["scores"][old, "8"] for new, old in renamed.items()}
    runs = [PooledRun(name, (grid, noise), judging.losses, judging.sets, scores) for name, grid, noise in settings]
    evaluate_pooled_lds(runs, CONFIG, bank["out"].table)  # type: ignore[arg-type]
    return pd.read_csv(bank["out"].table)


def test_pooled_runs_are_those_of_a_setting(bank: dict[str, Any]) -> None:
    settings = [("one", "uniform", "shared"), ("one", "uniform", "shared"), ("two", "uniform", "shared")]
    table = pooled(bank, *settings, ("one", "dmin_cubic", "shared"), dmin="random", text="true", datainf="true")
    row = table.set_index(["method", "grid", "reference"]).loc["text", "uniform", "dmin"]
    assert (row["banks"], row["query_sets"], row["queries"], row["subsets"]) == (2, 3, 36, 96)
    assert 0 < row["low"] < row["difference"] < row["high"]
    same = table.set_index(["method", "grid", "reference"]).loc["text", "uniform", "datainf"]
    assert same["difference"] == same["low"] == same["high"] == 0
    assert set(table["reference"]) == {"dmin", "datainf"} and set(table["grid"]) == {"uniform", "dmin_cubic"}


def test_bank_without_signal_is_not_pooled(bank: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    banded(bank, 30.0)
    with caplog.at_level("WARNING"):
        table = pooled(bank, ("one", "uniform", "shared"), dmin="random", text="true")
    assert table.empty and "bank one has a ceiling of" in caplog.text


def test_silent_band_is_drawn_grey_under_its_ceiling(bank: dict[str, Any]) -> None:
    figure = plot_lds_bands(banded(bank, 0.1))
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0 to 150", "200 to 450", "500 to 950"]
    assert len(panel.patches) == 1 and panel.patches[0].get_extents() is not None
    points = [line for line in panel.lines if line.get_marker() not in ("None", "", None)]
    assert len(points) == 3 and all(np.isfinite(line.get_ydata()).sum() == 2 for line in points)
