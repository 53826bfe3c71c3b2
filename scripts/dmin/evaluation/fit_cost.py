"""What the members cost that a fit of contributions takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmin.runtime.readers import read_csv

RETRAIN, SPARSIFIED = "retrain", "sparsified"
# What is paid once, before the first member of a trainer.
_ONCE = {SPARSIFIED: "pruning"}


@dataclass(frozen=True)
class FitCost:
    """What members cost, in units of one retraining on all the data.

    Attributes:
        compute: of a member on all the data, by trainer, and of ``pruning``.
        budget: of retrainings: under ``epochs`` they have the share of the steps that they have of the samples.
    """

    compute: Mapping[str, float]
    budget: str

    @classmethod
    def read(cls, cost: Path, budget: str) -> FitCost:
        """Read the columns ``trainer, compute`` of a table."""
        table = read_csv(cost)
        pairs = zip(table["trainer"], table["compute"], strict=True)
        return cls({str(trainer): float(value) for trainer, value in pairs}, budget)

    def paid(self, trainer: str, member: np.ndarray, seeds: int, samples: Sequence[int]) -> float:
        """Return what all members of some coalitions cost, with what is paid once; NaN where nobody knows.

        Args:
            member: who is in, boolean ``[..., coalitions, n]``; the mean over several draws of these.
            seeds: how many members a coalition has.
            samples: how many each player has.
        """
        shares = np.ones(member.shape[:-1])
        if trainer == RETRAIN and self.budget == "epochs":
            shares = member @ np.array(samples) / sum(samples)
        trainings = seeds * float(shares.sum(axis=-1).mean())
        return trainings * self.compute.get(trainer, float("nan")) + self.compute.get(_ONCE.get(trainer, ""), 0.0)
