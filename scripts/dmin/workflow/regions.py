"""Regions of queries that are asked about on their own: which methods rank them, and their files."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalogue.methods import METHODS, read_cache
from .influence import Influence


@dataclass(frozen=True)
class Regions:
    """The ranked lists of a run's regions."""

    influence: Influence

    @property
    def methods(self) -> list[str]:
        """Those that rank regions: on gradients, without learning from the queries' subsets; none without regions."""
        influence = self.influence
        if not influence.gradients.queries.regions:
            return []
        reading = {*influence.gradient_methods, *influence.checkpoint_methods}
        return [method for method in influence.methods if method in reading and not METHODS[method].learns]

    @property
    def caches(self) -> list[str]:
        """The kinds of gradient cache that these methods read of regions."""
        return sorted({cache for method in self.methods for cache in self.read_by(method)})

    def read_by(self, method: str) -> list[str]:
        """Return the kinds that one of these methods reads."""
        if method in self.influence.checkpoint_methods:
            return self.influence.gradients.checkpoint_caches
        return [read_cache(method, "regions")]

    @property
    def scored(self) -> list[tuple[str, str]]:
        """Each of these methods with every width that it is scored at."""
        return [(method, v) for method in self.methods for v in self.influence.widths(method)]

    def folder(self, method: str, v: str) -> str:
        """Return the folder of a method's scores of regions."""
        return f"{self.influence.folder(method, v)}/regions"

    def asked(self, ranked: str) -> str:
        """Return the table of what a folder of ranked lists is of: the queries, or regions of them."""
        queries = self.influence.gradients.queries
        return queries.region_table if ranked.endswith("/regions") else queries.table

    @property
    def rankings(self) -> list[str]:
        """The ranked lists as tables for people."""
        return [f"{self.folder(*pair)}/ranking.csv" for pair in self.scored]
