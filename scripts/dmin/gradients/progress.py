"""Resumable progress inside a shard: finished micro-batches on disk, and how many there are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dmin.data.atomic import write_json


class Progress:
    """Arrays of a shard being filled, kept in a folder keyed by a digest of everything they depend on.

    A micro-batch counts as done only after its rows are flushed, so a kill at any moment loses at most one.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> None:
        self.folder = folder
        self._state = folder / "done.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.done: int = json.loads(self._state.read_text())["rows"] if self._state.exists() else 0
        mode = "r+" if self.done else "w+"
        self.arrays = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode=mode, dtype=dtype, shape=shape)
            for name, (shape, dtype) in shapes.items()
        }

    def store(self, rows: Mapping[str, torch.Tensor]) -> None:
        """Append the rows of one micro-batch to every array."""
        count = len(next(iter(rows.values())))
        for name, values in rows.items():
            array = self.arrays[name]
            array[self.done : self.done + count] = values.cpu().numpy()
            array.flush()
        self.done += count
        write_json({"rows": self.done}, self._state)

    def discard(self) -> None:
        """Remove the folder once the shard stands."""
        self.arrays.clear()
        shutil.rmtree(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
