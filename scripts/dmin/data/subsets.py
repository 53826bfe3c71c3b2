"""Which subset every query and training sample belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dmin.data.samples import read_samples

# The subset of the noised copies: no class, so a set of samples may lack it.
NOISE_SUBSET = "noise"


def read_subsets(tables: Sequence[Path]) -> dict[str, str]:
    """Return the subset of every id in the given sample tables."""
    subsets: dict[str, str] = {}
    for path in tables:
        frame = read_samples(path, ["id", "subset"])
        subsets.update(zip(frame["id"], frame["subset"], strict=True))
    return subsets
