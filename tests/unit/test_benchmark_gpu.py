"""The GPU benchmark: every stage at a toy's size on the CPU, and a driver that keeps what it has."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from warm import warm_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    return gpu


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("gpu")
    command = [warm_python(), str(BENCHMARKS / "gpu.py"), "--toy", "--device", "cpu", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return pd.read_csv(out / "gpu.csv")


def test_every_stage_runs_without_an_error(toy: pd.DataFrame) -> None:
    assert toy["stage"].unique().tolist() == ["exactness", "evaluations", "sketch", "scoring", "training", "bank"]
    assert toy["error"].isna().all() and toy["device"].str.startswith("CPU, toy").all()
    rates = toy[toy["unit"].isin(["1/s", "GB/s", "steps/s"])]
    assert len(rates) > 10 and (rates["value"] > 0).all()


def test_exactness_is_measured(toy: pd.DataFrame) -> None:
    rows = toy[toy["stage"] == "exactness"]
    assert (rows.loc[rows["measure"].str.startswith("relative error"), "value"] < 1e-5).all()
    rules = set(rows.loc[rows["variant"] == "engine against autograd", "model"])
    assert rules >= {"linear", "conv2d", "group_norm", "layer_norm", "rms_norm", "embedding"}
    cosines = rows[rows["measure"] == "least cosine to fp64"].set_index("variant")["value"]
    assert cosines["float32"] > 0.99999 and 0.99 < cosines["bfloat16"] < 1


def test_stages_that_fail_or_take_too_long_leave_what_they_have(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(scale: Any) -> Iterator[dict[str, Any]]:
        yield {"measure": "first", "value": 1.0}

    def failing(scale: Any) -> Iterator[dict[str, Any]]:
        yield from found(scale)
        raise RuntimeError("no such kernel\nand a long trace")

    def endless(scale: Any) -> Iterator[dict[str, Any]]:
        yield from found(scale)
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    scale = gpu.Scale(torch.device("cpu"), True, tmp_path)
    stages = {"sketch": failing, "scoring": endless, "training": found}
    monkeypatch.setitem(gpu.SHARES, "scoring", 0.01)
    gpu.run_stages(stages, scale, 60.0)
    gpu.run_stages({"bank": found}, scale, 0.0)
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert table.groupby("stage", sort=False)["value"].sum().to_dict() == {
        "sketch": 1, "scoring": 1, "training": 1, "bank": 0,
    }  # fmt: skip
    errors = table.dropna(subset=["error"]).set_index("stage")["error"]
    assert errors["sketch"] == "no such kernel" and errors["scoring"].startswith("stopped after")
    assert errors["bank"] == "not begun: time ran out" and "training" not in errors


def test_rows_of_another_device_are_kept(gpu: Any, tmp_path: Path) -> None:
    other = dict.fromkeys(gpu.COLUMNS, "") | {"stage": "sketch", "value": 2.0, "device": "a card"}
    pd.DataFrame([other]).to_csv(tmp_path / "gpu.csv", index=False)
    scale = gpu.Scale(torch.device("cpu"), True, tmp_path)
    for _ in range(2):
        gpu.run_stages({"sketch": lambda _: iter([{"measure": "rate", "value": 1.0}])}, scale, 5.0)
    assert pd.read_csv(tmp_path / "gpu.csv")["value"].tolist() == [2.0, 1.0]
