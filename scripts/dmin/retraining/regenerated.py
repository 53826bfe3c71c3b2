"""Images that retrained models generated, read from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dmin.data.samples import read_samples


def read_regenerated(parts: Mapping[str, list[Path]]) -> pd.DataFrame:
    """Return the images that :func:`regenerate` wrote, by removal; columns ``method, id, set, repeat, image``."""
    tables = [read_samples(path).assign(method=method) for method, paths in parts.items() for path in paths]
    return pd.concat(tables, ignore_index=True).astype({"set": int, "repeat": int})


def group_parts(removals: Sequence[str], files: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each removal; ``removals`` names that of each file."""
    parts: dict[str, list[Path]] = {}
    for removal, file in zip(removals, files, strict=True):
        parts.setdefault(removal, []).append(Path(file))
    return parts
