"""The micro config on a real SLURM, through the shipped profile: the same results, and a cancelled job is tried again."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config, write_template

HERE = Path(__file__).parent
PROFILE = yaml.safe_load((PROJECT / "profiles" / "slurm" / "profile.yaml").read_text())
RUN = Path("results") / "runs" / "micro"
# What a run measures of itself; all else must be equal.
TIMED = ("cost.csv", ".metrics.json", ".tsv")
TIMES = ["p50_ms", "p95_ms", "build_seconds"]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Run a cluster on this machine; Snakemake and its jobs find it by the environment."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed; requirements.txt pins it.")
    # munged refuses a folder that other users cannot enter, as pytest's are.
    state = Path(tempfile.mkdtemp(prefix="dmin-slurm-"))
    state.chmod(0o755)
    started = subprocess.run([HERE / "start-slurm.sh", state], capture_output=True, text=True, check=False)
    try:
        if started.returncode:
            pytest.skip(f"no SLURM can be started here: {started.stderr.strip()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(state / "etc" / "slurm.conf"))
            patch.setenv("PATH", str(state / "bin"), prepend=":")
            yield
    finally:
        subprocess.run([HERE / "stop-slurm.sh", state], check=False)
        shutil.rmtree(state, ignore_errors=True)


def jobs() -> pd.DataFrame:
    """Return what SLURM knows of its jobs, ended ones too: rule, state, memory, time limit in minutes, allocation."""
    fields = ["comment", "state", "minmemory", "timelimit", "tres-alloc", "jobid"]
    asked = ",".join(f"{field}:|" if field == fields[-1] else f"{field}:120|" for field in fields)
    text = subprocess.run(
        ["squeue", "--states=all", "--noheader", "--Format", asked], capture_output=True, text=True, check=True
    ).stdout
    rows = [[cell.strip() for cell in line.split("|")[: len(fields)]] for line in text.splitlines()]
    frame = pd.DataFrame(rows, columns=["rule", "state", "memory", "limit", "allocated", "id"])
    frame["rule"] = frame["rule"].str.extract(r"^rule_([a-z_]+?)(?:_wildcards.*)?$", expand=False)
    return frame


def cancel_first(rule: str) -> str:
    """Cancel the first job of a rule that runs, and return its id."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        frame = jobs()
        running = frame[(frame["rule"] == rule) & (frame["state"] == "RUNNING")]
        if len(running):
            subprocess.run(["scancel", running.iloc[0]["id"]], check=True)
            return running.iloc[0]["id"]
        time.sleep(1)
    raise AssertionError(f"no job of {rule} ran within {PATIENCE_S} s:\n{jobs()}")
