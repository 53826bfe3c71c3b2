"""Snakemake on the warm interpreter says and plans what it does on its own: what the other tests rely on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from checkout import MICRO, Checkout

# What differs between any two runs.
MOMENTS = r"\[?\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}\]?|Date: .*|Workflow ID: .*"


def told(result: subprocess.CompletedProcess[str]) -> tuple[int, list[str]]:
    """Return the status and the lines of a run; files within a line have no order of their own."""
    text = re.sub(MOMENTS, "", result.stdout + result.stderr)
    return result.returncode, sorted(" ".join(sorted(re.split(r"[ ,;]+", line))) for line in text.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [("--dry-run",), ("--dry-run", "--forceall", "influence"), ("--dry-run", "no_such_target"), ("--lint",)],
    ids=" ".join,
)
def test_same_is_told(new_checkout: Callable[[str], Checkout], arguments: tuple[str, ...]) -> None:
    checkout = new_checkout("told")
    assert told(checkout.snakemake(*arguments)) == told(checkout.snakemake(*arguments, python=sys.executable))


def test_same_plan_after_an_edit_and_a_changed_config(finished: Checkout) -> None:
    path = finished.root / "scripts" / "dmin" / "gradients" / "timesteps.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("return ", "return 1 and ", 1))
        finished.write_config(MICRO.read_text().replace("dpi: 60", "dpi: 70"))
        warm, cold = (finished.snakemake("--dry-run", python=python) for python in (None, sys.executable))
    finally:
        path.write_text(text)
        finished.write_config(MICRO.read_text())
    assert told(warm) == told(cold) and "cache_gradients" in warm.stdout
