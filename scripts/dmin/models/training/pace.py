"""What a training may use, and when it must end."""

from __future__ import annotations

from dataclasses import dataclass

from dmin.models.training.processes import ALONE, Processes
from dmin.runtime.deadline import StopRequest


@dataclass(frozen=True)
class TrainingPace:
    """The resources of a training; no weight depends on them, but for the order of sums.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda``; several processes bring their own.
        save_every: steps between two saved states.
        request: is asked before every step whether the training must end; None never ends it.
        processes: share each step; the main one writes.
        code: digest of the job's code, as the rule has it: only an unfinished training of the same is gone on with.
    """

    device: str
    save_every: int
    request: StopRequest | None = None
    processes: Processes = ALONE
    code: str = ""
