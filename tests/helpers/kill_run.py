"""A whole run killed at random moments, Snakemake and every job at once, and gone on with.

``python tests/helpers/kill_run.py 20`` kills the micro run twenty times and says whether its files are those of an
undisturbed one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from checkout import Checkout, write_template
from warm import warm_python, warm_server

# What a run measures of itself, and what is drawn from that.
MEASURED = (
    "verify.csv",
    ".metrics.json",
    "cost.csv",
    "retrieval.csv",
    "figures/retrieval.png",
    "figures/retrieval.svg",
)
JOBS = 50
_DONE = "Finished jobid"


def kill_and_continue(checkout: Checkout, kills: int, seed: int) -> int:
    """Make everything, killed at ``kills`` moments drawn by ``seed``, and return how many kills met a run at work.

    A moment is a number of jobs that have ended since the last kill, and a time after that.
    """
    generator, met = np.random.default_rng(seed), 0
    for _ in range(kills):
        jobs, after = int(generator.integers(0, max(2, JOBS // kills))), float(generator.uniform(0, 1.5))
        met += _killed(checkout, jobs, after)
    result = checkout.snakemake("--cores", "2", "--nolock")
    assert result.returncode == 0, result.stderr
    return met


def result_bytes(checkout: Checkout) -> dict[str, bytes]:
    """Return every file that a run leaves, hidden ones too, but for what it measures of itself."""
    results = checkout.root / "results"
    files = {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if not name.removesuffix(".sha256").replace(".sha256/", "").endswith(MEASURED)
        and not name.startswith("benchmarks/")
        and path.name != ".snakemake_timestamp"
    }


def _killed(checkout: Checkout, jobs: int, after: float) -> bool:
    """Start a run, kill all of it some time ``after`` so many ``jobs`` have ended, and say whether it was at work."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.root / "scripts"), "HF_HUB_OFFLINE": "1"}
    environment.pop("SNAKEMAKE_PROFILE", None)
    told = checkout.root / "killed.log"
    with told.open("w") as log:
        command = [warm_python(), "-m", "snakemake", "--cores", "2", "--nolock"]
        process = subprocess.Popen(command, cwd=checkout.root, env=environment, stdout=log, stderr=log)
        while process.poll() is None and ("Execute " not in (text := told.read_text()) or text.count(_DONE) < jobs):
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        working = process.poll() is None
        while found := list(_processes(checkout.root)):
            for number in found:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.02)
        process.wait()
    return working


def _processes(folder: Path) -> Iterator[int]:
    """Yield the processes that work in a folder, which is nobody else's, and are not dead already."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                yield int(entry.name)


def main(kills: int, seed: int) -> None:
    """Compare a run that is killed with one that is not, and print what was found."""
    with tempfile.TemporaryDirectory() as temporary, warm_server():
        folder = Path(temporary)
        (folder / "template").mkdir()
        write_template(folder / "template")
        whole, cut = (Checkout(folder / name, folder / "template") for name in ("whole", "cut"))
        whole.run()
        met = kill_and_continue(cut, kills, seed)
        left, right = result_bytes(whole), result_bytes(cut)
    different = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    print(f"{met} kills, {len(left)} files, {len(different)} of them different: {different}")  # noqa: T201
    sys.exit(bool(different))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
