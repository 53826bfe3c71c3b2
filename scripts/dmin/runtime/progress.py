"""Resumable progress inside a shard: finished micro-batches on disk, and how many there are."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.runtime.atomic import write_json
from dmin.runtime.deadline import StopRequest
from dmin.runtime.errors import UserError
from dmin.runtime.sidecar import count_attempt

log = logging.getLogger(__name__)

# Rows that are checked at a time, so that the memory stays small.
BLOCK_ROWS = 256


class Progress:
    """Arrays of a shard being filled, kept in a folder keyed by a digest of everything they depend on.

    A micro-batch counts as done only after its rows are flushed, so a kill at any moment loses at most one. What an
    earlier job left under other settings is removed, and the settings that changed are logged. Rows that fail their
    checksum are made again.

    Args:
        root: the folder of all sidecars of a split.
        name: the shard's name.
        key: digest of ``settings``.
        settings: everything that the rows depend on.
        shapes: shape and dtype of every array; the first axis counts the rows.

    Raises:
        UserError: the last attempts got no further than what is done.
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
        self.done: int = 0
        self._checksums: dict[str, int] = dict.fromkeys(shapes, 0)
        if self._state.exists():
            before = json.loads(self._state.read_text())
            self.done, self._checksums = before["rows"], before.get("checksums", {})
        self._total = next(iter(shapes.values()))[0][0]
        if self.done and not self._whole(shapes):
            log.warning("starting afresh: rows of the unfinished job in '%s' are torn", folder)
            self.done, self._checksums = 0, dict.fromkeys(shapes, 0)
            self._state.unlink()
        self.arrays = {}
        for array, (shape, dtype) in shapes.items():
            path = folder / f"{array}.npy"
            if not self.done:
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
                # Writing to a memory map on a full disk kills the process; asking for the space first raises instead.
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            self.arrays[array] = np.lib.format.open_memmap(path, mode="r+")
        if self.done < self._total:
            count_attempt(folder / "attempts.json", self.done, f"'{folder}'")

    def _whole(self, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> bool:
        """Say whether the finished rows on disk are those that were stored."""
        for name, (shape, dtype) in shapes.items():
            try:
                array = np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="r")
            except (OSError, ValueError):
                return False
            if (array.shape, array.dtype) != (shape, np.dtype(dtype)):
                return False
            checksum = 0
            for start in range(0, self.done, BLOCK_ROWS):
                rows = np.ascontiguousarray(array[start : min(start + BLOCK_ROWS, self.done)])
                checksum = zlib.crc32(rows.view(np.uint8).data, checksum)
            if checksum != self._checksums.get(name):
                return False
        return True

    def end_if_due(self, request: StopRequest | None) -> None:
        """End the job where ``request`` asks for it; what is stored stays.

        Raises:
            UserError: it does; the message says how far the job got.
        """
        if request is not None and (reason := request.due()):
            raise UserError(
                f"'{self.folder}' ends after {self.done} of {self._total} rows, saved, because {reason}; run again to "
                "go on."
            )

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
        count, checksums = len(next(iter(rows.values()))), {}
        for name, values in rows.items():
            array = self.arrays[name]
            given = values.cpu().numpy()
            array[self.done : self.done + count] = given
            array.flush()
            stored = np.ascontiguousarray(given.astype(array.dtype, copy=False))
            checksums[name] = zlib.crc32(stored.view(np.uint8).data, self._checksums[name])
        self.done, self._checksums = self.done + count, checksums
        write_json({"rows": self.done, "checksums": checksums}, self._state)

    def discard(self) -> None:
        """Remove the folder once the shard stands."""
        self.arrays.clear()
        shutil.rmtree(self.folder)
        if self.folder.parent.exists() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
