"""Runs of the config: each asks which training images shaped the images that a model generates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from ..runtime.errors import UserError
from ..settings.runs import Evaluation
from ..settings.runs import Run as RunSettings
from .ablations import Ablation
from .audits import Audit
from .banks import Bank, Lds
from .gradients import Gradients
from .held_out import HeldOut
from .influence import Influence
from .maps import Maps
from .models import Model
from .named import Named
from .parameters import count_attributed
from .queries import Queries
from .regions import Regions
from .studies import CONTROLS, Study
from .values import pick


@dataclass(frozen=True)
class Run:
    """A run, with the parts that its rules ask for."""

    name: str
    settings: RunSettings
    model: Model
    bank: Bank | None

    @cached_property
    def queries(self) -> Queries:
        """The images that are asked about."""
        return Queries(self.name, self.settings["queries"], self.model.dataset)

    @cached_property
    def gradients(self) -> Gradients:
        """The gradient caches."""
        options = self.settings["influence"]["options"]
        return Gradients(self.name, self.settings["gradients"], options, self.model, self.queries)

    @cached_property
    def influence(self) -> Influence:
        """The methods."""
        return Influence(self.name, self.settings["influence"], self.gradients)

    @cached_property
    def attributed(self) -> int | None:
        """P, the values of a gradient; None where it is known only once the weights stand in the results."""
        return count_attributed(self.model, self.gradients.settings["parameters"])

    @property
    def width_check(self) -> list[str]:
        """What says that the sketch is no wider than the gradient; nothing where the config's check has said so."""
        return [] if self.attributed is not None else [f"<results>/runs/{self.name}/gradients/width.json"]

    @property
    def evaluation(self) -> Evaluation:
        """How methods are evaluated."""
        return self.settings["evaluation"]

    @cached_property
    def held_out(self) -> HeldOut:
        """The images that were not trained on, among whose scores others are ranked."""
        return HeldOut(self.influence)

    @property
    def seed_runs(self) -> list[str]:
        """The run and those of models that differ from its own in their seed."""
        return [self.name, *(self.settings["ablation"]["seeds"] if "ablation" in self.settings else [])]

    def seed_files(self, file: str) -> list[str]:
        """Return a file of the folder of every method and width, each by all of these runs."""
        here = f"<results>/runs/{self.name}/"
        return [
            path.replace(here, f"<results>/runs/{run}/")
            for path in self.influence.scored_files(file)
            for run in self.seed_runs
        ]

    @property
    def list_settings(self) -> dict[str, Any]:
        """What ranked lists depend on, beside scores."""
        return {
            **pick(self.evaluation, "confidence"),
            **pick(self.settings["influence"], "top_k"),
            **pick(self.settings["influence"]["significance"], "fdr"),
            "own_images": self.queries.settings["source"] in ("held_out", "images"),
            "subsets_known": self.queries.subsets_known,
        }

    def section(self, name: str) -> Any:
        """Return a section of the run's settings.

        Raises:
            UserError: the run lacks it.
        """
        if name not in self.settings:
            raise UserError(f"runs.{self.name} has no {name}; add it, or ask for the file of a run that has.")
        return self.settings[name]  # type: ignore[literal-required]

    @property
    def judged(self) -> Lds:
        """The linear datamodeling score; only of a run that has the section."""
        self.section("lds")
        return cast(Lds, self.lds)

    @cached_property
    def lds(self) -> Lds | None:
        """The linear datamodeling score; None for a run without one."""
        if "lds" not in self.settings or self.bank is None:
            return None
        return Lds(self.name, self.settings["lds"], self.evaluation, self.bank, self.influence)

    @property
    def tells_risk(self) -> bool:
        """Whether lists that say how sure they are can be held against a truth: subsets, or retrained models."""
        return bool(self.held_out.judged) and (self.queries.subsets_known or self.lds is not None)

    @property
    def risk_inputs(self) -> dict[str, list[str]]:
        """What their risk is read from: lists and scores, and what retraining did, where the run has a bank."""
        pairs, lds = self.held_out.judged, self.lds
        files = {
            "tops": [self.influence.top(*pair) for pair in pairs],
            "scores": [self.influence.scores(*pair) for pair in pairs],
            "descriptions": [f"{self.influence.folder(*pair)}/scores.json" for pair in pairs],
        }
        return files if lds is None else {**files, "losses": lds.losses, "sets": lds.bank.sets}

    @property
    def risk_settings(self) -> dict[str, Any]:
        """How far a list is looked at for hits, where subsets are known, and what intervals depend on."""
        return {
            "k": min(self.evaluation["k"]) if self.queries.subsets_known else None,
            "interval": None if self.lds is None else self.lds.interval,
            **pick(self.evaluation, "confidence"),
        }

    @cached_property
    def ablation(self) -> Ablation:
        """The ablations; only of a run that has the section."""
        return Ablation(self.name, self.section("ablation"), self.evaluation, self.influence)

    @cached_property
    def regions(self) -> Regions:
        """The ranked lists of regions of queries."""
        return Regions(self.influence)

    @cached_property
    def maps(self) -> Maps:
        """The influence maps; only of a run that has the section."""
        return Maps(self.name, self.section("maps"), self.influence)

    @cached_property
    def audit(self) -> Audit:
        """The audit of the training set; only of a run that has the section."""
        return Audit(self.name, self.section("audit"), self.evaluation, self.influence)

    @cached_property
    def studies(self) -> dict[str, Study]:
        """The studies that the run has, by name."""
        found = {name: self.settings[name] for name in CONTROLS if name in self.settings}  # type: ignore[literal-required]
        studies = {
            name: Study(self.name, name, settings, self.evaluation, self.influence) for name, settings in found.items()
        }
        return Named(f"runs.{self.name}", studies)

    def table(self, name: str) -> str:
        """Return a table of the run."""
        return f"<results>/runs/{self.name}/tables/{name}.csv"

    def figures(self, *names: str) -> list[str]:
        """Return the files of figures of the run."""
        return [f"<results>/runs/{self.name}/figures/{name}.{suffix}" for name in names for suffix in ("svg", "png")]
