"""When a long job ends by itself: before its time limit, or when it is told to."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What starts before the process and ends after it counts towards the limit too: the scheduler and Snakemake.
MARGIN_SECONDS, MARGIN_SHARE = 60.0, 0.05


class StopRequest:
    """A question that a loop asks before every step: must this job end now, with what it has saved?

    It must once SIGTERM or SIGINT came, or when the time limit is near: when less is left than a margin (one minute or
    5 % of the limit, whichever is longer, but at most half of the limit) and the longest step so far. As a context
    manager it takes the signals, so that the first of each kind is a question and the second ends the process at once.

    Args:
        runtime: the limit in minutes since the process began; None for no limit.
    """

    def __init__(self, runtime: float | None = None) -> None:
        self.runtime = runtime
        self._signal: str | None = None
        self._before: dict[int, Any] = {}
        self._asked: float | None = None
        self._longest = 0.0
        self._limit: float | None = None
        if runtime is not None:
            seconds = 60 * runtime
            margin = min(max(MARGIN_SECONDS, MARGIN_SHARE * seconds), seconds / 2)
            self._limit = time.monotonic() - process_age() + seconds - margin

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        signal.signal(number, self._before[number])

    def due(self) -> str | None:
        """Return why the job must end before its next step, or None. Ask once per step: the pace is learnt here."""
        now = time.monotonic()
        if self._asked is not None:
            self._longest = max(self._longest, now - self._asked)
        self._asked = now
        if self._signal is not None:
            return f"{self._signal} came"
        if self._limit is not None and now + self._longest >= self._limit:
            return f"its time limit of {self.runtime:g} minutes is near"
        return None


def process_age() -> float:
    """Return the seconds since this process began; 0 where the system does not tell."""
    try:
        # Field 22, counted after the name, which may hold blanks: ticks of 1/100 s between the boot and the start.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / 100)
    except (OSError, AttributeError):
        return 0.0
