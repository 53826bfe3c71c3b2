"""The retrainings of a bank: their numbers, and the models they gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.load import TrainedModel
from dmin.settings.models import Base


class BankSettings(TypedDict):
    """What retrainings depend on beside the model.

    Attributes:
        seeds: the trainings of each set.
        exclude: the sets that are left out.
        seed: of the trainings.
        removes: whether a set lists what is left out, and not what is trained on.
        budget: ``steps`` for as many steps as the model had, and not as many epochs.
        advice: how a set is left out, for a message.
    """

    seeds: int
    exclude: Sequence[int]
    seed: NotRequired[int]
    removes: NotRequired[bool]
    budget: NotRequired[Literal["epochs", "steps"]]
    advice: NotRequired[str]


@dataclass(frozen=True)
class Member:
    """One retraining: the number of its set, and which of the set's trainings it is."""

    set: int
    repeat: int

    @property
    def name(self) -> str:
        """Its folder and its name in messages."""
        return f"set{self.set:04d}-{self.repeat}"


@dataclass(frozen=True)
class Retrainings:
    """The retrainings ``start`` to ``stop`` of a bank, those of a set one after another."""

    bank: BankSettings
    start: int
    stop: int

    def __iter__(self) -> Iterator[Member]:
        """Yield them, without the sets that are left out."""
        for number in range(self.start, self.stop):
            member = Member(number // self.bank["seeds"], number % self.bank["seeds"])
            if member.set not in self.bank["exclude"]:
                yield member


@dataclass(frozen=True)
class RetrainedModels:
    """The models of some retrainings, in the folder of :func:`retrain_subsets`."""

    folder: Path
    base: Base
    finetune: Literal["adapter", "full"]
    retrainings: Retrainings

    def of(self, member: Member) -> TrainedModel:
        """Return the model of a retraining."""
        return TrainedModel(self.base, self.folder / member.name / weights_name(self.finetune))


def weights_name(finetune: Literal["adapter", "full"]) -> str:
    """Return the name of a model's weights: of a pipeline folder, or of an adapter file."""
    return "pipeline" if finetune == "full" else ADAPTER_FILE
