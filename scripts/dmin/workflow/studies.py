"""Studies that remove training samples and retrain: counterfactual removal, deletion, and stroke thickness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..catalogue.methods import PLAIN_METHODS
from ..settings.runs import Deletion, Evaluation, Removal, Thickness
from .influence import Influence
from .ranges import cut_ranges, repeated_in
from .values import pick

# What a study compares its methods with: retraining on everything, and removals that no method chose.
CONTROLS = {
    "removal": ["none", "random"],
    "deletion": ["none", "random"],
    "thickness": ["none", "random", "class_matched", "thickest"],
}
ALL_CONTROLS = sorted({control for controls in CONTROLS.values() for control in controls})


@dataclass(frozen=True)
class Study:
    """A study of a run: its removals, each of one or more sets of samples, and the retrainings after each."""

    run: str
    name: str
    settings: Removal | Deletion | Thickness
    evaluation: Evaluation
    influence: Influence

    @property
    def folder(self) -> str:
        """The folder of all its files but tables and figures."""
        return f"<results>/runs/{self.run}/{self.name}"

    @property
    def removals(self) -> list[str]:
        """The controls, and the methods that choose what is removed."""
        return CONTROLS[self.name] + self.settings["methods"]

    @property
    def removed(self) -> list[str]:
        """The table of what each removal leaves out."""
        return [f"{self.folder}/{removal}/removed.parquet" for removal in self.removals]

    @property
    def sizes(self) -> list[int]:
        """How many samples are removed for a query, one after another, by default a tenth of the training set."""
        train = self.influence.gradients.count("train")
        if self.name == "thickness":
            return [cast(Thickness, self.settings)["top_k"]]
        if self.name == "deletion":
            return sorted({max(1, round(share * train)) for share in cast(Deletion, self.settings)["shares"]})
        k = cast(Removal, self.settings)["k"]
        return [max(1, train // 10) if k is None else k]

    @property
    def queries(self) -> int | None:
        """How many queries each method's removals are for, one at a time; None where they are for all at once."""
        return None if self.name == "thickness" else cast(Removal | Deletion, self.settings)["queries"]

    def sets(self, removal: str) -> int:
        """Return how many sets of samples are removed, one at a time."""
        if removal == "none":
            return 1
        if removal == "random":
            return self.settings["draws"] * len(self.sizes)
        return (self.queries or 1) * len(self.sizes)

    def ranges(self, removal: str) -> list[str]:
        """Return the ranges of retrainings that one job each runs."""
        return cut_ranges(self.sets(removal) * self.settings["seeds"], self.settings["per_job"])

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """The (removal, number) of every set that is excluded."""
        return [(Path(entry).parent.name, int(Path(entry).name)) for entry in self.settings["exclude"]]

    def range_settings(self, removal: str, name: str, *keys: str) -> dict[str, Any]:
        """Return the settings that a range of retrainings depends on: ``keys``, and the sets that are left out."""
        numbers = repeated_in(name, self.settings["seeds"])
        left_out = [number for left, number in self.left_out if left == removal and number in numbers]
        return {"exclude": left_out, **pick(self.settings, "seeds", *keys)}

    def training_settings(self, removal: str, name: str) -> dict[str, Any]:
        """Return the settings that the models of a range depend on, and what to do about one that diverges."""
        advice = f"add {removal}/{{set}} to runs.{self.run}.{self.name}.exclude"
        return {"advice": advice, "removes": True, **self.range_settings(removal, name, "seed", "budget")}

    def choice_settings(self, removal: str) -> dict[str, Any]:
        """Return what the choice of the removed samples depends on, beside scores."""
        if self.name == "thickness":
            if removal not in ALL_CONTROLS:
                return pick(self.settings, "top_k")
            return pick(self.settings, "seed", *(["draws"] if removal == "random" else []))
        if removal == "none":
            return {}
        keys = ("draws", "seed") if removal == "random" else ("queries",)
        return {"k": self.sizes, **pick(self.settings, *keys)}

    def scores(self, removal: str, file: str = "scores.npy") -> list[str]:
        """Return the scores that a removal is chosen by, or a file beside them; none for a control."""
        if removal in ALL_CONTROLS:
            return []
        return [f"{self.influence.folder(removal, self.influence.shown_width(removal))}/{file}"]

    def reference(self, removal: str) -> list[str]:
        """Return what the first method removes, for whatever removes as many; none for itself and for nothing."""
        first = self.settings["methods"][0]
        return [] if removal in ("none", first) else [f"{self.folder}/{first}/removed.parquet"]

    @property
    def originals(self) -> str:
        """What is generated again: the queries, or all that they were selected from."""
        queries = self.influence.gradients.queries
        return queries.table if self.name == "removal" else queries.candidates

    @property
    def sampling_settings(self) -> dict[str, Any]:
        """How it is generated again, and how much of it."""
        return {**self.influence.gradients.queries.sampling(), "queries": self.queries}

    @property
    def _retrained(self) -> Sequence[tuple[str, str]]:
        return [(removal, name) for removal in self.removals for name in self.ranges(removal)]

    @property
    def losses(self) -> list[str]:
        """The losses of the queries after every range of every removal."""
        return [f"{self.folder}/{removal}/losses/{name}.parquet" for removal, name in self._retrained]

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What these depend on, beside the models."""
        return pick(self.settings, "timesteps", "seed")

    @property
    def images(self) -> list[str]:
        """The regenerated images of every range of every removal."""
        return [f"{self.folder}/{removal}/images/{name}.parquet" for removal, name in self._retrained]

    @property
    def removal_of_ranges(self) -> list[str]:
        """The removal of each of these files, of losses as of images."""
        return [removal for removal, _ in self._retrained]

    @property
    def widths(self) -> dict[str, str]:
        """The width of the scores of each method that has one."""
        methods = sorted(method for method in self.settings["methods"] if method not in PLAIN_METHODS)
        return {method: self.influence.shown_width(method) for method in methods}

    @property
    def table_settings(self) -> dict[str, Any]:
        """What the tables depend on, beside images."""
        settings = {"budget": self.settings["budget"], **pick(self.evaluation, "confidence")}
        if self.name == "removal":
            return settings | {"k": self.sizes[0]}
        settings |= pick(self.evaluation, "bootstrap", "seed")
        return settings | {"least": self.influence.gradients.queries.classifier["confidence"]}


def removed_by(checkpoints: Any, run: str, study: str, removal: str) -> str:
    """Return the table of what a removal leaves out, once it is written.

    Before, Snakemake's ``checkpoints`` raise what has the job that reads it looked at again when it is.
    """
    chosen = checkpoints.choose_thickness_removals if study == "thickness" else checkpoints.choose_removals
    path: str = chosen.get(run=run, study=study, removal=removal).output[0]
    return path
