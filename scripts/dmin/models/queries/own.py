"""Names of queries that are a user's own prompts or images."""

from __future__ import annotations

SUBSET = "query"


def own_names(count: int) -> list[str]:
    """Return the ids of the first ``count`` of them."""
    return [f"query/{SUBSET}/{number:04d}" for number in range(count)]
