"""What a run reads of the test set to rank scores among those of images that were not trained on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..catalogue.methods import GRADIENT_METHODS, read_cache
from .influence import Influence
from .memory import scoring_mb

SPLIT = "test"


@dataclass(frozen=True)
class HeldOut:
    """The test set of a run, as methods on gradients read it; nothing where the run does not."""

    influence: Influence

    @property
    def used(self) -> bool:
        """Whether scores are ranked among its."""
        return self.influence.settings["significance"]["held_out"]

    @property
    def count(self) -> int:
        """How many images are scored too."""
        return self.influence.gradients.count(SPLIT) if self.used else 0

    @property
    def judged(self) -> list[tuple[str, str]]:
        """Every method whose scores are ranked among theirs, with every width."""
        return [pair for pair in self.influence.scored if self.used and pair[0] in GRADIENT_METHODS]

    def scoring_mb(self, method: str, v: str) -> int:
        """Return what scoring by a method takes at width v, with these images."""
        return scoring_mb(self.influence.gradients, method, v, self.count)

    def scored(self, method: str, v: str) -> dict[str, str | list[str]]:
        """Return what a method is given at width v: the gradients, the shards that they were made from, the table."""
        if not self.used:
            return {}
        return {
            "held_out": self.influence.gradients_at(method, v, SPLIT),
            "held_out_norms": self.influence.shards(method, SPLIT),
            "held_out_samples": self.influence.gradients.model.dataset.test,
        }

    @property
    def caches(self) -> list[str]:
        """The caches that are read."""
        methods = [method for method in self.influence.scored_methods if method in GRADIENT_METHODS]
        return sorted({read_cache(method, SPLIT) for method in methods}) if self.used else []

    @property
    def shards(self) -> list[tuple[str, str]]:
        """Every shard, with its cache."""
        return [(cache, shard) for cache in self.caches for shard in self.influence.gradients.shards(cache, SPLIT)]

    def sketches(self, methods: Collection[str]) -> list[tuple[str, str, str]]:
        """Return the (cache, v, split) of every sketch that some of the run's methods read, each once."""
        asked = [method for method in methods if method in GRADIENT_METHODS] if self.used else []
        widths = {(read_cache(method, SPLIT), v, SPLIT) for method in asked for v in self.influence.widths(method)}
        return sorted(sketch for sketch in widths if sketch[1] != "full")
