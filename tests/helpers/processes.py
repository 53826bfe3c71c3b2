"""Processes that tests wait for and kill."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable

# Far beyond what anything takes, also on a machine with much else to do.
PATIENCE_S = 300


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"nothing happened for {PATIENCE_S} s"
        time.sleep(0.02)


def is_killed(moment: float, work: Callable[[], object]) -> bool:
    """Run work in a process that is killed after ``moment`` s, and tell whether it was still at it."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(moment)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL
