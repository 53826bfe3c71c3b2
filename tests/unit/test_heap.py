"""Memory that is freed and allocated again, step after step."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dmin.runtime import heap

STEPS = """
import resource
from dmin.runtime.heap import keep_freed_memory


def faults():
    for step in range(8):
        if step == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [b"1" * 1_200_000 for _ in range(8)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the GNU C library")
def test_what_a_step_freed_is_there_for_the_next_one() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    given, able, kept = done.stdout.split()
    assert able == "True" and int(kept) * 20 < int(given)


def test_another_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    assert heap.keep_freed_memory() is False
