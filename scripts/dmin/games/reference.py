"""The samples that members are asked about: held-out ones, and one image of the whole model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmin.data.samples import read_samples, write_samples
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

COLUMNS = ["id", "prompt", "image"]


def draw_reference(test: Path, rows: int, seed: int, out: Path) -> None:
    """Write test samples drawn at random; columns ``id, prompt, image``.

    Raises:
        UserError: the test set has too few.
    """
    table = read_samples(test, COLUMNS)
    if len(table) < rows:
        raise UserError(f"reference.rows is {rows}, but the test set has {len(table)} samples; lower it.")
    chosen = np.random.default_rng(derive_seed(seed, "reference")).choice(len(table), rows, replace=False)
    write_samples(table.iloc[np.sort(chosen)], out)


def take_query(images: Path, number: int, out: Path) -> None:
    """Write one image of a model as a table of samples; columns ``id, prompt, image``."""
    write_samples(read_samples(images, COLUMNS).iloc[[number]], out)
