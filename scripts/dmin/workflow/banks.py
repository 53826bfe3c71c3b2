"""Banks of models retrained on random parts of their training set, and what a run measures with one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..settings.runs import Bank as BankSettings
from ..settings.runs import Evaluation
from ..settings.runs import Lds as LdsSettings
from .influence import Influence
from .models import Model
from .ranges import cut_ranges, repeated_in
from .values import pick


@dataclass(frozen=True)
class Bank:
    """Models retrained on random sets."""

    name: str
    settings: BankSettings
    model: Model

    @property
    def ranges(self) -> list[str]:
        """The ranges of retrainings that one job each runs."""
        return cut_ranges(self.settings["subsets"] * self.settings["seeds"], self.settings["per_job"])

    @property
    def sets(self) -> list[str]:
        """The table of the sets of every range."""
        return [f"<results>/banks/{self.name}/sets/{name}.parquet" for name in self.ranges]

    def models(self, name: str) -> str:
        """Return the folder of the models of a range."""
        return f"<results>/banks/{self.name}/models/{name}"

    @property
    def draw_settings(self) -> dict[str, Any]:
        """What the sets depend on."""
        return pick(self.settings, "seeds", "fraction", "seed")

    def range_settings(self, name: str, *keys: str) -> dict[str, Any]:
        """Return the settings that a range of retrainings depends on: ``keys``, and the sets that are left out."""
        numbers = repeated_in(name, self.settings["seeds"])
        left_out = [number for number in self.settings["exclude"] if number in numbers]
        return {"exclude": left_out, **pick(self.settings, "seeds", *keys)}


@dataclass(frozen=True)
class Lds:
    """The linear datamodeling score of a run, by a bank of its model."""

    run: str
    settings: LdsSettings
    evaluation: Evaluation
    bank: Bank
    influence: Influence

    @property
    def losses(self) -> list[str]:
        """The losses of the queries under the models of every range."""
        return [f"<results>/runs/{self.run}/lds/losses/{name}.parquet" for name in self.bank.ranges]

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What these depend on, beside the models."""
        return pick(self.settings, "timesteps", "seed")

    @property
    def interval(self) -> dict[str, Any]:
        """What the interval of a score depends on."""
        evaluation = pick(self.evaluation, "confidence", "seed")
        return {"bootstrap": self.settings["bootstrap"], **evaluation}

    @property
    def band_settings(self) -> dict[str, Any]:
        """What the table of bands says of a run and depends on, beside losses and scores."""
        query_set = self.influence.gradients.queries.settings["source"]
        return {"starts": self.settings["bands"], "query_set": query_set, "bank": self.bank.name}

    @property
    def gradient_setting(self) -> list[str]:
        """The grid of timesteps at which gradients are taken, and the policy of their noise."""
        gradients = self.influence.gradients.settings
        return [gradients["timesteps"]["grid"], gradients["noise"]["policy"]]

    def sweeps(self) -> list[str]:
        """Return the tables on lambda of all kernel methods."""
        return self.influence.kernel_tables("lds_lambda.csv")
