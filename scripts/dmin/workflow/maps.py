"""Influence maps of a run: whose scores they split, into which parts, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..catalogue.methods import LINEAR_METHODS, METHODS, read_cache
from ..settings.runs import Maps as MapsSettings
from .gradients import Gradients
from .influence import Influence
from .memory import scoring_mb
from .ranges import cut_ranges
from .values import leave_out

# What gradients are taken of: the fields of queries and of training images, and whole queries by layers.
PARTS = ("query_fields", "sample_fields", "layers")


@dataclass(frozen=True)
class Maps:
    """The influence maps of a run."""

    run: str
    settings: MapsSettings
    influence: Influence

    @property
    def gradients(self) -> Gradients:
        """The gradients of its run."""
        return self.influence.gradients

    @property
    def method(self) -> str:
        """The method whose scores are split: that of the config, or the first of the run's whose scores can be."""
        chosen = self.settings["method"]
        found = [method for method in self.influence.methods if method in LINEAR_METHODS]
        return (found or LINEAR_METHODS)[0] if chosen == "auto" else chosen

    @property
    def width(self) -> str:
        """The width of these scores: the one whose pictures are shown."""
        return self.influence.shown_width(self.method)

    @property
    def query_count(self) -> int:
        """How many queries have maps."""
        queries = self.settings["queries"]
        return len(queries) if isinstance(queries, list) else min(queries, self.gradients.queries.count)

    @property
    def parts(self) -> list[str]:
        """What gradients are taken of; fields of training images only where scores are linear in these too."""
        return [part for part in PARTS if part != "sample_fields" or "train" in METHODS[self.method].linear]

    def count(self, part: str) -> int:
        """Return how many rows a part has."""
        fields = self.query_count * self.settings["grid"] ** 2
        counts = {"query_fields": fields, "sample_fields": fields * self.settings["top_k"], "layers": self.query_count}
        return counts[part]

    def cache(self, part: str) -> str:
        """Return the kind of gradient cache whose gradients a part's are."""
        return read_cache(self.method, "train" if part == "sample_fields" else "queries")

    def samples(self, part: str) -> str:
        """Return the encoded samples that a part's rows are regions of."""
        return self.gradients.samples("train" if part == "sample_fields" else "queries")

    def masks(self, part: str) -> str:
        """Return the masks of a part's rows."""
        return f"<results>/runs/{self.run}/maps/{part}.safetensors"

    def shards(self, part: str) -> list[str]:
        """Return the shards of a part's gradients; none of a part that there is not."""
        if part not in self.parts:
            return []
        folder = f"<results>/runs/{self.run}/maps/{self.cache(part)}/{part}"
        ranges = cut_ranges(self.count(part), self.gradients.settings["shard_size"])
        return [f"{folder}/{name}.safetensors" for name in ranges]

    def gradient_settings(self, part: str, cache: str) -> dict[str, Any]:
        """Return the settings of gradients that hold for a part."""
        return {**self.gradients.gradient_settings(cache, "queries"), "keep_raw": False}

    def cache_settings(self, part: str, cache: str) -> dict[str, Any]:
        """Return what is differentiated, and the width that is stored."""
        settings = {**self.gradients.cache_settings(cache, "queries"), "width": int(self.width)}
        return {**settings, "layers": True} if part == "layers" else settings

    @property
    def inputs(self) -> dict[str, str | list[str]]:
        """What the table is made from, by role."""
        influence, method, v = self.influence, self.method, self.width
        sides = {"train": "train", "query": "queries"}
        norms: dict[str, str | list[str]] = {
            f"{name}_norms": influence.shards(method, split) for name, split in sides.items()
        }
        read = {split: influence.gradients_at(method, v, split) for split in sides.values()}
        return norms | read | {part: self.shards(part) for part in self.parts} | {"top": influence.top(method, v)}

    @property
    def mb(self) -> int:
        """What the table's job takes: that of scoring, and the parts, held four times in single precision."""
        groups = 100 + self.gradients.timestep_count
        rows = sum(map(self.count, ("query_fields", "sample_fields"))) + self.query_count * groups
        values = self.gradients.timestep_count * int(self.width)
        return scoring_mb(self.gradients, self.method, self.width) + 16 * rows * values // 10**6

    @property
    def cut_settings(self) -> dict[str, Any]:
        """What is cut into parts."""
        return leave_out(self.settings, "method")

    @property
    def table(self) -> str:
        """The table of all parts of scores."""
        return f"<results>/runs/{self.run}/tables/influence_maps.parquet"
