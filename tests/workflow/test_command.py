"""The command ``dmin attribute`` on a tiny base: the lists, the page, and nothing made twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from checkout import Checkout
from tiny_pipeline import build_adapter
from warm import warm_python

import dmin


def attribute(checkout: Checkout, out: Path) -> subprocess.CompletedProcess[str]:
    adapter = checkout.root / "adapter"
    if not adapter.exists():
        build_adapter({"family": "stable_diffusion", "path": str(checkout.root / "base"), "revision": None}, adapter)
    data = checkout.root / "data" / "blue"
    asked = {
        "images": data,
        "adapter": adapter,
        "base": checkout.root / "base",
        "queries": data,
        "out": out,
        "cores": 2,
    }
    return subprocess.run(
        [warm_python(), "-m", "dmin.command", "attribute", *(f"--{name}={value}" for name, value in asked.items())],
        env={**os.environ, "PYTHONPATH": str(checkout.root / "scripts"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.snakemake
def test_one_command_leads_from_a_folder_and_an_adapter_to_the_lists(finished: Checkout, tmp_path: Path) -> None:
    result = attribute(finished, tmp_path / "out")
    assert result.returncode == 0, result.stdout + result.stderr
    lists, page = map(Path, result.stdout.splitlines()[-2:])
    run = dmin.open_run(tmp_path / "out")
    assert page == run.page and page.is_file() and lists == run.ranking_file("dmin")
    table = run.ranking("dmin")
    assert table["query_file"].nunique() == 24 and set(table["share"].between(0, 1)) == {True}
    assert table["sample"].nunique() == 24 and len(table) == 24 * 24
    judged = ["p_value", "significant", "low", "high"]
    written = pd.read_csv(lists, keep_default_na=False)
    pd.testing.assert_frame_equal(table.drop(columns=judged), written.drop(columns=judged))
    assert table["p_value"].isna().all() and (table["low"] <= table["score"]).all()
    again = attribute(finished, tmp_path / "out")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
