"""Ablations of a run: studies of the index and of compression that need no pass of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..catalogue.methods import BLOCKS_CACHE, CHECKPOINT_METHODS, KEPT_CACHES, METHODS, TAUGHT_METHODS, read_cache
from ..settings.runs import Ablation as AblationSettings
from ..settings.runs import Evaluation
from ..settings.timesteps import grid_timesteps
from .influence import Influence
from .memory import scoring_mb

# They read one sketch a sample and timestep, of the training samples and of the queries alike.
COMPRESSED_METHODS = [
    name
    for name, entry in METHODS.items()
    if entry.caches and entry.caches[0] == entry.caches[1] and BLOCKS_CACHE not in entry.caches
]


@dataclass(frozen=True)
class Ablation:
    """The ablations of a run."""

    run: str
    settings: AblationSettings
    evaluation: Evaluation
    influence: Influence

    @property
    def searched(self) -> list[str]:
        """What the search of every index of the HNSW ablation found."""
        grid = self.settings["hnsw"]
        return [
            f"<results>/runs/{self.run}/ablation/hnsw/v{grid['v']}/M{links}-efc{candidates}.csv"
            for links in sorted(grid["M"])
            for candidates in sorted(grid["ef_construction"])
        ]

    @property
    def search_settings(self) -> dict[str, Any]:
        """What these searches depend on, beside index and queries."""
        top_k = self.influence.settings["top_k"]
        return {"ef": self.settings["hnsw"]["ef"], "k": self.evaluation["k"], "top_k": top_k}

    @property
    def compressed_methods(self) -> list[str]:
        """The methods whose sketches are narrowed; DMin always, for its figure."""
        methods = dict.fromkeys(["dmin", *self.influence.methods])
        return [method for method in methods if method in COMPRESSED_METHODS]

    @property
    def compressed(self) -> list[str]:
        """What the scores of each of them are worth at every width."""
        taught = [method for method in self.influence.methods if method in TAUGHT_METHODS]
        methods = [*self.compressed_methods, *taught]
        return [f"<results>/runs/{self.run}/ablation/compression/{method}.csv" for method in methods]

    @property
    def teacher_scores(self) -> list[str]:
        """The scores of the teacher of taught methods, where the run has them."""
        teacher = self.influence.teacher
        listed = teacher in self.influence.methods
        return [self.influence.scores(teacher, self.influence.shown_width(teacher))] if listed else []

    @property
    def widths(self) -> list[int]:
        """The widths of the config, or 64 to cache_dim by doubling, as far as they fold; the widest first."""
        cache_dim = self.influence.gradients.settings["cache_dim"]
        doublings = [64 << n for n in range(cache_dim.bit_length()) if cache_dim % (64 << n) == 0]
        return sorted(self.settings["compression"]["widths"] or {*doublings, cache_dim}, reverse=True)

    @property
    def storage(self) -> list[str]:
        """The number formats of stored sketches."""
        return sorted(self.settings["compression"]["storage"])

    @property
    def timestep_subsets(self) -> list[list[int]]:
        """The cached timesteps that coarser grids have, of every number that divides theirs; the fewest first."""
        gradients = self.influence.gradients
        timesteps, pndm = gradients.settings["timesteps"], gradients.model.base.family.pndm
        cached, subsets = grid_timesteps(timesteps, pndm), []
        for count in (number for number in range(1, len(cached) + 1) if len(cached) % number == 0):
            coarse = grid_timesteps({**timesteps, "count": count}, pndm)
            subsets.append(cached[:: len(cached) // count] if timesteps["grid"] == "custom" else coarse)
        return [subset for subset in subsets if set(subset) <= set(cached)]

    @property
    def fewer_timesteps(self) -> list[str]:
        """What the scores of each of the compressed methods are worth at fewer timesteps."""
        return [f"<results>/runs/{self.run}/ablation/timesteps/{method}.csv" for method in self.compressed_methods]

    def shown_sketch(self, method: str, split: str) -> str:
        """Return the sketches that a method reads at the width whose pictures are shown."""
        width = self.influence.shown_width("dmin")
        return self.influence.gradients.sketch(read_cache(method, split), width, split)

    @property
    def replayed(self) -> list[tuple[str, str]]:
        """The methods that replay the training, with each of their widths."""
        return [pair for pair in self.influence.scored if pair[0] in CHECKPOINT_METHODS]

    @property
    def tables(self) -> list[str]:
        """The names of the tables on timesteps and seeds that the run has."""
        names = ["timestep_cosines"] + ["timesteps_ablation"] * self.influence.gradients.queries.subsets_known
        return names + ["replay_bias"] * bool(self.replayed) + ["seed_agreement"] * bool(self.settings["seeds"])

    def sketch(self, method: str, split: str) -> str:
        """Return the sketches at cache_dim that a method reads."""
        gradients = self.influence.gradients
        return gradients.sketch(read_cache(method, split), gradients.settings["cache_dim"], split)

    def scoring_mb(self, method: str) -> int:
        """Return what scoring by a method takes at the widest sketch, ``cache_dim``."""
        gradients = self.influence.gradients
        return scoring_mb(gradients, method, str(gradients.settings["cache_dim"]))

    def uncompressed_scores(self, method: str) -> list[str]:
        """Return a method's uncompressed scores, where the run keeps the gradients that they need."""
        kept = self.influence.gradients.settings["keep_raw"] and read_cache(method, "train") in KEPT_CACHES
        return [self.influence.scores(method, "full")] if kept else []
