"""A regression small enough to train to the last bit in a moment, and to kill at any step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.state import TrainingState
from dmin.runtime.seeds import derive_generator

CONFIG = {
    "steps": 11,
    "learning_rate": 0.1,
    "weight_decay": 0.01,
    "warmup_steps": 3,
}
LOG_EVERY, SAVE_EVERY = 2, 3


class Killed(BaseException):
    """What no handler catches, as a kill."""


class Problem:
    """A noisy regression whose every draw comes from the step, with an average that only the state carries along."""

    def __init__(self, digest: str, folder: Path, die_at: int | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(5, generator=generator).requires_grad_()
        self.bias = torch.zeros((), requires_grad=True)
        self.average = torch.zeros(5)
        self.state = TrainingState(folder, digest)
        self.die_at = die_at
        self.asked: list[int] = []

    def loss_at(self, step: int) -> Tensor:
        """Return the loss of a step, or die at it."""
        self.asked.append(step)
        if step == self.die_at:
            raise Killed
        x = torch.randn(8, 5, generator=derive_generator(1, step))
        return (x @ self.weight + self.bias - x.sum(1) - 2).square().mean()

    def run(self, request: Any = None) -> list[dict[str, float]]:
        """Train to the end, or to that asked for, from the last saved state if there is one; return the logged rows."""

        def blend(step: int) -> None:
            self.average.lerp_(self.weight.detach(), 0.2)

        tensors = {"weight": self.weight, "bias": self.bias, "average": self.average}
        given = Minimisation("toy", [self.weight, self.bias], self.loss_at, tensors, blend, LOG_EVERY)
        return fit(given, CONFIG, self.state, TrainingPace("cpu", SAVE_EVERY, request))


def same(left: Problem, right: Problem) -> bool:
    """Say whether two trainings ended in the same bits."""
    pairs = [(left.weight, right.weight), (left.bias, right.bias), (left.average, right.average)]
    return all(torch.equal(one, other) for one, other in pairs)
