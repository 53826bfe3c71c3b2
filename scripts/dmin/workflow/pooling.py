"""The runs with an LDS, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime.errors import UserError
from .banks import Lds


@dataclass(frozen=True)
class Pooling:
    """The LDS of several runs, each method at the width whose pictures are shown.

    Attributes:
        judged: in the order of their names, so that the order of the config changes no interval.
    """

    judged: Sequence[Lds]

    @property
    def table(self) -> list[str]:
        """The pooled table; none where no run has an LDS."""
        return ["<results>/banks/pooled_lds.csv"] if self.judged else []

    @property
    def files(self) -> dict[str, list[str]]:
        """Losses, sets, scores and their descriptions of every run, named by kind and the run's place."""
        found: dict[str, list[str]] = {}
        for place, lds in enumerate(self.judged):
            found[f"losses_{place}"] = lds.losses
            found[f"sets_{place}"] = lds.bank.sets
            found[f"scores_{place}"] = lds.influence.shown_files("scores.npy")
            found[f"descriptions_{place}"] = lds.influence.shown_files("scores.json")
        return found

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What the table says of every run: its bank, how its gradients are taken, and its methods."""
        return [
            {"bank": lds.bank.name, "setting": lds.gradient_setting, "methods": lds.influence.methods}
            for lds in self.judged
        ]

    @property
    def interval(self) -> dict[str, Any]:
        """What the intervals depend on, which all runs have alike."""
        return self.judged[0].interval

    def check(self) -> None:
        """Refuse runs whose intervals are made in different ways: no one way would be theirs.

        Raises:
            UserError: two runs differ; the sentence names both, and the key.
        """
        for lds in self.judged[1:]:
            for key, value in self.interval.items():
                if lds.interval[key] != value:
                    place = "lds" if key == "bootstrap" else "evaluation"
                    raise UserError(
                        f"runs.{self.judged[0].run}.{place}.{key} is {value} and runs.{lds.run}.{place}.{key} is "
                        f"{lds.interval[key]}, but one table pools them; give all runs with an lds the same."
                    )
