"""What a job may use, and when it must end; no result depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from dmin.runtime.deadline import StopRequest


@dataclass(frozen=True)
class Pace:
    """The resources of a job: speed alone depends on them.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda``.
        batch: rows, images or queries that are worked on together.
        request: is asked before every batch whether the job must end; None never ends it.
        code: digest of the job's code, as the rule has it: only unfinished work of the same is gone on with.
    """

    device: str
    batch: int
    request: StopRequest | None = None
    code: str = ""
