"""The audit of a run's training set: what it reads, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..settings.audits import Audit as AuditSettings
from ..settings.runs import Evaluation
from .consequences import Consequence
from .gradients import Gradients
from .influence import Influence
from .values import pick

# The caches whose gradients are compared, the best first; a run always has the last.
_CACHES = ("loss_scaled", "loss")


@dataclass(frozen=True)
class Audit:
    """The audit of a run."""

    run: str
    settings: AuditSettings
    evaluation: Evaluation
    influence: Influence

    @property
    def folder(self) -> str:
        """The folder of all its files."""
        return f"<results>/runs/{self.run}/audit"

    @property
    def gradients(self) -> Gradients:
        """The gradients of its run."""
        return self.influence.gradients

    @property
    def splits(self) -> list[str]:
        """The splits of the data set that it reads: the training set, and the test set where there is one."""
        return ["train", "test"] if self.gradients.count("test") else ["train"]

    @property
    def cache(self) -> str:
        """The cache whose gradients are compared: under one scale for all tensors where the run has that one."""
        return next(cache for cache in _CACHES if cache in self.influence.caches("train"))

    @property
    def width(self) -> str:
        """The width at which they are."""
        return self.influence.shown_width("dmin")

    @property
    def conditional(self) -> bool:
        """Whether the model knows captions."""
        return self.gradients.model.base.family.conditional

    def sketches(self) -> dict[str, str]:
        """Return the compressed gradients that are compared, by split."""
        splits = [*self.splits, "queries"]
        return {f"{split}_sketch": self.gradients.sketch(self.cache, self.width, split) for split in splits}

    def shards(self) -> dict[str, list[str]]:
        """Return the shards that these were made from, by split."""
        return {f"{split}_shards": self.gradients.shards(self.cache, split) for split in [*self.splits, "queries"]}

    def norm_shards(self) -> dict[str, list[str]]:
        """Return the shards of every cache of the loss, whose norms self-influence is, by column of the table."""
        columns = {"loss": "self_influence", "loss_scaled": "self_influence_scaled"}
        caches = self.influence.caches("train")
        return {column: self.gradients.shards(cache, "train") for cache, column in columns.items() if cache in caches}

    def features(self, split: str) -> str:
        """Return the features of the images of a split."""
        return f"<results>/datasets/{self.gradients.model.dataset.name}/features/{split}.safetensors"

    def losses(self) -> dict[str, str]:
        """Return the losses of every split, by role."""
        return {f"{split}_losses": f"{self.folder}/losses/{split}.parquet" for split in self.splits}

    def similarities(self) -> dict[str, str]:
        """Return how alike images and captions are, by role; nothing where no CLIP is named or no caption counts."""
        if self.influence.options["encoder"] == "efficientnet" or not self.conditional:
            return {}
        return {f"{split}_similarity": f"{self.folder}/clip/{split}.parquet" for split in self.splits}

    def measured(self) -> dict[str, Any]:
        """Return every file that the table of samples is made from, by role."""
        dataset = self.gradients.model.dataset
        tables = {"train": dataset.train} | ({"test": dataset.test} if "test" in self.splits else {})
        features = {f"{split}_features": self.features(split) for split in self.splits}
        return (
            tables
            | features
            | self.similarities()
            | self.losses()
            | self.sketches()
            | self.shards()
            | self.norm_shards()
        )

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What the losses depend on, beside files."""
        captions = self.settings["captions"] if self.conditional else 0
        return pick(self.settings, "timesteps", "draws", "seed") | {"captions": captions}

    @property
    def sample_settings(self) -> dict[str, Any]:
        """What the table of samples depends on, beside files."""
        size = self.gradients.model.dataset.settings["size"]
        return pick(self.settings, "k") | pick(self.influence.options, "relative_lambda") | {"size": size}

    @property
    def issue_settings(self) -> dict[str, float]:
        """At which rate it bears false findings, and the confidence of its intervals."""
        return {"confidence": self.evaluation["confidence"], "fdr": self.settings["fdr"]}

    @cached_property
    def consequence(self) -> Consequence | None:
        """What the model does without the flagged images; None where that is not asked for."""
        if "consequence" not in self.settings:
            return None
        return Consequence(self.run, self.settings["consequence"], self.evaluation, self.gradients)

    @property
    def shown(self) -> dict[str, list[str]]:
        """What its page shows of the consequence: the table, what is generated and for which queries; maybe nothing."""
        images = self.consequence.images if self.consequence else []
        table = [f"<results>/runs/{self.run}/tables/audit_consequence.csv"] if self.consequence else []
        return {"table": table, "images": images, "queries": [self.gradients.queries.table] if images else []}

    @property
    def tables(self) -> list[str]:
        """The tables that say what the audit is worth, where it is known what was planted, and what its lists do."""
        planted = "plant" in self.gradients.model.dataset.settings
        names = ["audit_detection", "audit_found", "audit_calibration"] if planted else []
        names += ["audit_consequence"] if self.consequence else []
        return [f"<results>/runs/{self.run}/tables/{name}.csv" for name in names]
