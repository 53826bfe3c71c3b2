"""What a model does without the images that its audit flags: the sets that are removed, and the retrainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..settings.audits import Consequence as ConsequenceSettings
from ..settings.runs import Evaluation
from .gradients import Gradients
from .ranges import cut_ranges
from .values import pick


@dataclass(frozen=True)
class Consequence:
    """Retrainings of a run's model on all images, without the flagged ones, and without as many at random."""

    run: str
    settings: ConsequenceSettings
    evaluation: Evaluation
    gradients: Gradients

    @property
    def folder(self) -> str:
        """The folder of all its files but its table."""
        return f"<results>/runs/{self.run}/audit/consequence"

    @property
    def planted(self) -> list[str]:
        """What was planted in the training set; none where that is not known."""
        dataset = self.gradients.model.dataset
        return [dataset.planted] if "plant" in dataset.settings else []

    @property
    def removals(self) -> list[str]:
        """What each set of samples is, by number."""
        return ["none", "flagged", *(["planted"] if self.planted else []), *["random"] * self.settings["draws"]]

    @property
    def removed(self) -> str:
        """The table of what each set leaves out."""
        return f"{self.folder}/removed.parquet"

    @property
    def ranges(self) -> list[str]:
        """The ranges of retrainings that one job each runs."""
        return cut_ranges(len(self.removals) * self.settings["seeds"], self.settings["per_job"])

    @property
    def losses(self) -> list[str]:
        """The losses of the held-out images under the models of every range."""
        return [f"{self.folder}/losses/{name}.parquet" for name in self.ranges]

    @property
    def images(self) -> list[str]:
        """What the models of every range generate; none where the queries were not generated."""
        generated = self.settings["queries"] and self.gradients.queries.settings["source"] in ("generated", "prompts")
        return [f"{self.folder}/images/{name}.parquet" for name in self.ranges] if generated else []

    @property
    def features(self) -> list[str]:
        """The features of held-out images, which tell a generated one's subset; none where no prompt asks for it."""
        queries, dataset = self.gradients.queries, self.gradients.model.dataset
        asked = self.images and queries.kind == "generated" and self.gradients.model.base.family.conditional
        return [f"<results>/datasets/{dataset.name}/features/test.safetensors"] if asked else []

    @property
    def choice_settings(self) -> dict[str, Any]:
        """What the choice of the removed samples depends on, beside the audit."""
        return {"removals": self.removals, **pick(self.settings, "seed")}

    @property
    def model_settings(self) -> dict[str, Any]:
        """What a retraining depends on, beside base and samples, with its own steps."""
        retraining, steps = self.gradients.model.retraining, self.settings["steps"]
        if steps is None:
            return retraining
        train = retraining["train"]
        warmup = min(train["warmup_steps"], steps)
        return {**retraining, "train": {**train, "steps": steps, "warmup_steps": warmup}}

    @property
    def bank(self) -> dict[str, Any]:
        """What the retrainings depend on beside the model, and what to do about one that diverges."""
        model = self.gradients.model.name
        advice = f"leave runs.{self.run}.audit.consequence out, or lower models.{model}.train.learning_rate"
        return {
            "advice": advice,
            "removes": True,
            "budget": "steps",
            "exclude": [],
            **pick(self.settings, "seeds", "seed"),
        }

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What the losses depend on, beside the models."""
        return pick(self.settings, "timesteps", "seed")

    @property
    def sampling_settings(self) -> dict[str, Any]:
        """How images are generated again, and how many."""
        queries = self.gradients.queries
        return {**queries.sampling(), "queries": min(self.settings["queries"], queries.count)}

    @property
    def table_settings(self) -> dict[str, Any]:
        """What the table depends on, beside losses and images."""
        return {"removals": self.removals, **pick(self.evaluation, "confidence")}
