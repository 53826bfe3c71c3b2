"""What a stage costs: seconds, memory, bytes and the hardware it ran on."""

from __future__ import annotations

import platform
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dmin.runtime.atomic import write_json


def hardware_label() -> str:
    """Name the processor, with the number of usable cores, and the GPU where torch is in use and has one."""
    import os
    import sys

    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    label = f"{names[0] if names else platform.machine()}, {cores} core{'s' if cores > 1 else ''}"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        label += f", {torch.cuda.get_device_name()}"
    return label


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


class Meter:
    """Measure wall-clock seconds and peak memory between entering and leaving; a context manager."""

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start

    def write(self, path: Path, **facts: Any) -> None:
        """Write seconds, the process's peak resident memory in bytes, the hardware and further ``facts`` as JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_json({"seconds": self.seconds, "peak_memory_bytes": peak, "hardware": hardware_label(), **facts}, path)
