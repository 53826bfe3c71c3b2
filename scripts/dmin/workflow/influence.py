"""What the methods of a run read and leave: widths, scores, ranked lists and indexes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from ..catalogue.methods import (
    BLOCKS_CACHE,
    CHECKPOINT_METHODS,
    GRADIENT_METHODS,
    INDEXABLE,
    KEPT_CACHES,
    KERNEL_METHODS,
    METHODS,
    MIXED_METHODS,
    PLAIN_METHODS,
    SAMPLE_METHODS,
    TAUGHT_METHODS,
    read_cache,
)
from ..settings.runs import Influence as InfluenceSettings
from ..settings.runs import Options
from .gradients import SPLITS, Gradients
from .values import pick

# The width whose pictures are shown of each method, where it has that width.
SHOWN_WIDTH = "4096"
# In the order of tables.
BACKENDS = ("exact", "cascade", "hnsw")
# What a search has taken, beside its ranked lists.
SEARCH_METRICS = "retrieval.metrics.json"


@dataclass(frozen=True)
class Influence:
    """The methods of a run and their files."""

    run: str
    settings: InfluenceSettings
    gradients: Gradients

    @property
    def methods(self) -> list[str]:
        """All methods of the run."""
        return self.settings["methods"]

    @property
    def options(self) -> Options:
        """Settings of single methods."""
        return self.settings["options"]

    def options_of(self, method: str, *more: str) -> dict[str, Any]:
        """Return those that the scores of a method depend on, and ``more``."""
        return pick(self.options, *{*METHODS[method].options, *more})

    @property
    def gradient_methods(self) -> list[str]:
        """Those on gradients of the trained model."""
        return [method for method in self.methods if method in GRADIENT_METHODS]

    @property
    def checkpoint_methods(self) -> list[str]:
        """Those on gradients of the checkpoints."""
        return [method for method in self.methods if method in CHECKPOINT_METHODS]

    @property
    def scored_methods(self) -> list[str]:
        """All methods of the run, and those whose scores they are mixed of."""
        parts = [part for method in self.methods for part in METHODS[method].parts]
        return list(dict.fromkeys([*self.methods, *parts]))

    @property
    def kernel_methods(self) -> list[str]:
        """Those that solve a ridge kernel."""
        return [method for method in self.methods if method in KERNEL_METHODS]

    def caches(self, split: str) -> list[str]:
        """Return the caches of the trained model that are read of a split; loss always, for the tables on gradients."""
        read = {read_cache(method, split) for method in self.scored_methods if method in GRADIENT_METHODS}
        return sorted({"loss"} | read | set(self._taught_by(split)))

    def all_caches(self, split: str) -> list[str]:
        """Return these and the caches of the checkpoints, where methods read them, in the order of the methods."""
        read = [cache for caches in self.read_caches.values() for cache in caches[split]]
        return list(dict.fromkeys(["loss", *read]))

    @property
    def read_caches(self) -> dict[str, dict[str, list[str]]]:
        """The caches that each method reads of each split; methods without gradients are left out."""
        return {
            method: {split: self._caches_of(method, split) for split in SPLITS}
            for method in self.scored_methods
            if method not in SAMPLE_METHODS
        }

    @property
    def teacher(self) -> str:
        """The method that they learn from."""
        return self.options["student_teacher"]

    @property
    def teacher_gradients(self) -> dict[str, str | list[str]]:
        """The teacher's gradients of the training samples at its shown width, and the shards they were made from."""
        cache, v = read_cache(self.teacher, "train"), self.shown_width(self.teacher)
        return {"teacher": self.gradients.sketch(cache, v, "train"), "shards": self.gradients.shards(cache, "train")}

    def _taught_by(self, split: str) -> list[str]:
        """Return the cache of the teacher, which is read of the training samples alone, where a method learns."""
        taught = split == "train" and any(method in TAUGHT_METHODS for method in self.methods)
        return [read_cache(self.teacher, split)] if taught else []

    def _caches_of(self, method: str, split: str) -> list[str]:
        if method in CHECKPOINT_METHODS:
            return self.gradients.checkpoint_caches
        if method in TAUGHT_METHODS:
            return self._taught_by(split)
        if method in MIXED_METHODS:
            parts = [part for part in METHODS[method].parts if part not in PLAIN_METHODS]
            return list(dict.fromkeys(cache for part in parts for cache in self._caches_of(part, split)))
        return [read_cache(method, split)]

    def sketches(self, methods: Collection[str]) -> list[tuple[str, str, str]]:
        """Return the (cache, v, split) of every sketch that some of the run's methods read, each once."""
        read = {
            (cache, v, split)
            for method, caches in self.read_caches.items()
            if method in methods
            for split in SPLITS
            for cache in caches[split]
            for v in ([self.shown_width(self.teacher)] if method in TAUGHT_METHODS else self.widths(method))
            if v != "full"
        }
        return sorted(read)

    @property
    def compressed_widths(self) -> list[str]:
        """The widths that sketches are folded to."""
        return [str(width) for width in sorted(self.settings["widths"])]

    def widths(self, method: str) -> list[str]:
        """Return the widths that a method is scored at, or an empty one; only caches of the loss keep whole ones."""
        if method in PLAIN_METHODS:
            return [""]
        if method in CHECKPOINT_METHODS:
            return self.compressed_widths
        if method in MIXED_METHODS:
            return max((self.widths(part) for part in METHODS[method].parts), key=len)
        if read_cache(method, "train") == BLOCKS_CACHE:
            # A sketch per tensor does not fold.
            return [str(self.gradients.settings["block_dim"])]
        uncompressed = self.settings["uncompressed"] and set(METHODS[method].caches or ()) <= KEPT_CACHES
        return self.compressed_widths + ["full"] * uncompressed

    def shown_width(self, method: str) -> str:
        """Return the width whose pictures are shown of a method, the largest where it lacks the usual one."""
        available = [v for v in self.widths(method) if v != "full"]
        return SHOWN_WIDTH if SHOWN_WIDTH in available else available[-1]

    def gradients_at(self, method: str, v: str, split: str) -> str | list[str]:
        """Return what holds the gradients that a method reads at width v: the sketch, or the uncompressed shards."""
        cache = read_cache(method, split)
        return self.gradients.shards(cache, split) if v == "full" else self.gradients.sketch(cache, v, split)

    def shards(self, method: str, split: str) -> list[str]:
        """Return the shards of the cache that a method reads of a split."""
        return self.gradients.shards(read_cache(method, split), split)

    def folder(self, method: str, v: str) -> str:
        """Return the folder of a method's scores at width v."""
        folder = f"<results>/runs/{self.run}/influence/{method}"
        return f"{folder}/v{v}" if v else folder

    def scores(self, method: str, v: str) -> str:
        """Return the scores of a method at width v."""
        return f"{self.folder(method, v)}/scores.npy"

    def part_scores(self, method: str, v: str) -> list[str]:
        """Return the scores that a mixed method at width v is made of, those of its parts."""
        return [self.scores(part, v if v in self.widths(part) else "") for part in METHODS[method].parts]

    def top(self, method: str, v: str) -> str:
        """Return the ranked lists of a method at width v."""
        return f"{self.folder(method, v)}/exact/top.parquet" if v else f"{self.folder(method, v)}/top.parquet"

    @property
    def scored(self) -> list[tuple[str, str]]:
        """Every method with every width that it is scored at."""
        return [(method, v) for method in self.methods for v in self.widths(method)]

    @property
    def made(self) -> list[tuple[str, str]]:
        """Every method whose scores are made, with every width: those scored, and what they are mixed of."""
        return [(method, v) for method in self.scored_methods for v in self.widths(method)]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Every method with the width whose pictures are shown."""
        return [(method, self.shown_width(method)) for method in self.methods]

    def scored_files(self, file: str) -> list[str]:
        """Return a file of the folder of every method and width."""
        return [f"{self.folder(*pair)}/{file}" for pair in self.scored]

    def shown_files(self, file: str) -> list[str]:
        """Return a file of the folder of every method at the width whose pictures are shown."""
        return [f"{self.folder(*pair)}/{file}" for pair in self.shown]

    @property
    def shown_tops(self) -> list[str]:
        """The ranked lists of every method at that width."""
        return [self.top(*pair) for pair in self.shown]

    @property
    def tops(self) -> list[str]:
        """All ranked lists that are exact."""
        return [self.top(*pair) for pair in self.scored]

    @property
    def rankings(self) -> list[str]:
        """The same lists as tables for people."""
        return [top.replace("top.parquet", "ranking.csv") for top in self.tops]

    def retrieved(self, backend: str = "hnsw", file: str = "top.parquet") -> list[str]:
        """Return the ranked lists that a backend of the config leaves at every width, or another file beside them."""
        if self.indexed not in self.methods or backend not in self.settings["backends"]:
            return []
        return [f"{self.folder(self.indexed, v)}/{backend}/{file}" for v in self.compressed_widths]

    @property
    def backends(self) -> list[str]:
        """The backends that retrieve: those of the config, where the run has sketches to search."""
        return [backend for backend in BACKENDS if self.retrieved(backend)]

    @property
    def searched(self) -> list[str]:
        """What all backends leave."""
        return [path for backend in self.backends for path in self.retrieved(backend, SEARCH_METRICS)]

    @property
    def retrieval_inputs(self) -> dict[str, list[str]]:
        """What the table on retrieval compares: lists, the exact ones of the same widths, and what each has cost."""
        paths = {"cascade": self.cascade, "hnsw": self.index}
        built = [path for backend, path in paths.items() if backend in self.backends]
        exact = [self.top(self.indexed, v) for v in self.compressed_widths]
        return {
            "found": [path for backend in self.backends for path in self.retrieved(backend)],
            "exact": exact * len(self.backends),
            "retrievals": self.searched,
            "indexes": [path(v, ".metrics.json") for path in built for v in self.compressed_widths],
        }

    def cascade(self, v: str | int, suffix: str = ".safetensors") -> str:
        """Return the first stage of the search in two stages at width v, or another file beside it."""
        return f"<results>/runs/{self.run}/index/v{v}/cascade-r{self.settings['cascade']['rank']}{suffix}"

    @property
    def indexed(self) -> str:
        """The method whose sketches the index holds: that of the config, or the first of the run that can be."""
        listed = [method for method in INDEXABLE if method in self.methods]
        chosen = self.settings["hnsw"]["method"]
        return (listed or INDEXABLE)[0] if chosen == "auto" else chosen

    def indexed_sketch(self, v: str, split: str) -> str:
        """Return the sketches at width v that the index is built of, or is asked for."""
        return self.gradients.sketch(read_cache(self.indexed, split), v, split)

    def index(self, v: str | int, suffix: str = ".hnsw") -> str:
        """Return the index at width v, or another file beside it."""
        hnsw = self.settings["hnsw"]
        return f"<results>/runs/{self.run}/index/v{v}/M{hnsw['M']}-efc{hnsw['ef_construction']}{suffix}"

    def search_settings(self, backend: Literal["hnsw", "cascade"]) -> dict[str, float]:
        """Return what a retrieval depends on, beside index and queries."""
        own = {"ef": self.settings["hnsw"]["ef"]} if backend == "hnsw" else pick(self.settings["cascade"], "delta")
        return {**own, "top_k": self.settings["top_k"]}

    @property
    def indexes(self) -> list[str]:
        """The index at every width."""
        return [self.index(v) for v in self.settings["widths"]]

    def lambda_sweeps(self, file: str = "lambda.csv") -> list[str]:
        """Return the tables on lambda of all kernel methods, or another file that is made with them.

        There are none without two queries of a known subset, which a choice needs.
        """
        queries = self.gradients.queries
        judged = queries.settings["per_subset"] >= 2 and queries.subsets_known
        return self.kernel_tables(file) if judged else []

    def kernel_tables(self, file: str) -> list[str]:
        """Return a table beside the scores of every kernel method."""
        return [f"{self.folder(method, v)}/{file}" for method in self.kernel_methods for v in self.widths(method)]

    def journey_steps(self) -> list[str]:
        """Return the tables on the steps of a journey; none where no method goes along one."""
        widths = self.widths("journey_trak") if "journey_trak" in self.methods else []
        return [f"{self.folder('journey_trak', v)}/steps.csv" for v in widths]
