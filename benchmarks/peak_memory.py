"""The most memory a step takes beyond what is already held."""

from __future__ import annotations

import ctypes
import gc
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch


def peak_extra_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Run ``step`` once and return the peak memory in bytes above the level before it.

    On a GPU: memory allocated by torch. On a CPU: resident memory of the process, read from Linux.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # Freed memory that the allocator still holds would hide what the step takes.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(match.group(1)) * 1024


def measure_step(step: Callable[[], object]) -> dict[str, float]:
    """Run ``step`` once; return its seconds, and the peak of its memory over what is held before.

    ``resident_mb`` counts pages of mapped files, which the system takes back when it needs them; ``own_mb`` does not.
    """
    seconds: list[float] = []
    ended = threading.Event()
    own = [_anonymous()] * 2

    def watch() -> None:
        while not ended.wait(0.005):
            own[1] = max(own[1], _anonymous())

    def timed() -> None:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        peak = peak_extra_bytes(timed, torch.device("cpu"))
    finally:
        ended.set()
        watcher.join()
    return {"seconds": seconds[0], "resident_mb": peak / 1e6, "own_mb": (own[1] - own[0]) / 1e6}


def _anonymous() -> int:
    """Return the resident memory of the process in bytes that is no page of a file."""
    text = Path("/proc/self/status").read_text()
    return sum(int(size) * 1024 for size in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", text, re.MULTILINE))
