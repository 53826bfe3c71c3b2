"""Resumable progress inside a shard: finished micro-batches on disk, and how many there are."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.data.atomic import write_json

log = logging.getLogger(__name__)


class Progress:
    """Arrays of a shard being filled, kept in a folder keyed by a digest of everything they depend on.

    A micro-batch counts as done only after its rows are flushed, so a kill at any moment loses at most one. What an
    earlier job left under other settings is removed, and the settings that changed are logged.

    Args:
        root: the folder of all sidecars of a split.
        name: the shard's name.
        key: digest of ``settings``.
        settings: everything that the rows depend on.
        shapes: shape and dtype of every array.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        key: str,
        settings: Mapping[str, Any],
        shapes: Mapping[str, tuple[tuple[int, ...], Any]],
    ) -> None:
        self.folder = root / f"{name}-{key}"
        self._remove_stale(root, name, settings)
        folder = self.folder
        self._state = folder / "done.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(dict(settings), folder / "settings.json")
        self.done: int = json.loads(self._state.read_text())["rows"] if self._state.exists() else 0
        self.arrays = {}
        for array, (shape, dtype) in shapes.items():
            path = folder / f"{array}.npy"
            if not self.done:
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
                # Writing to a memory map on a full disk kills the process; asking for the space first raises instead.
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            self.arrays[array] = np.lib.format.open_memmap(path, mode="r+")

    def _remove_stale(self, root: Path, name: str, settings: Mapping[str, Any]) -> None:
        for stale in sorted(root.glob(f"{name}-*")):
            if stale == self.folder:
                continue
            file = stale / "settings.json"
            before = json.loads(file.read_text()) if file.exists() else {}
            changed = [key for key in sorted(settings) if before.get(key) != json.loads(json.dumps(settings[key]))]
            log.info("starting afresh: %s changed since an earlier, unfinished job", ", ".join(changed) or "the format")
            shutil.rmtree(stale)

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
