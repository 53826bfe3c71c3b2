"""Ids of queries, and the seeds that follow from them."""

from __future__ import annotations

from dmin.runtime.seeds import derive_seed

# The subset of a user's own prompts or images.
OWN = "query"


def query_names(subset: str, count: int) -> list[str]:
    """Return the ids of the first ``count`` queries of a subset."""
    return [f"query/{subset}/{number:04d}" for number in range(count)]


def query_seed(seed: int, name: str) -> int:
    """Return the seed ``[0, 2**32)`` of the noise that a query is sampled from."""
    return derive_seed(seed, "query", name) % 2**32
