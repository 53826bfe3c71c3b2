"""Resumable progress inside a shard: finished micro-batches on disk, and how many there are."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmin.runtime.atomic import write_json
from dmin.runtime.deadline import StopRequest
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.sidecar import count_attempt, read_note
from dmin.runtime.temporaries import remove_if_empty

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Rows that are checked at a time, so that the memory stays small.
BLOCK_ROWS = 256
# Seconds between two lines of the log.
LOG_SECONDS = 10.0

# Shape and number format of each array.
Shapes = Mapping[str, tuple[tuple[int, ...], Any]]


class Progress:
    """Arrays of a shard being filled, kept in a folder keyed by a digest of everything they depend on.

    A micro-batch counts as done only after its rows are flushed, so a kill at any moment loses at most one. What an
    earlier job left under other settings is removed, and the settings that changed are logged. Rows that fail their
    checksum are made again.

    Args:
        root: the folder of all sidecars of a split.
        name: the shard's name.
        settings: everything that the rows depend on.
        shapes: shape and dtype of every array; the first axis counts the rows.

    Raises:
        UserError: the last attempts got no further than what is done.
    """

    def __init__(self, root: Path, name: str, settings: Mapping[str, Any], shapes: Shapes) -> None:
        self.folder = root / f"{name}-{config_digest(settings)}"
        self._remove_stale(root, name, settings)
        folder = self.folder
        self._state = folder / "done.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(dict(settings), folder / "settings.json")
        self.done: int = 0
        self._checksums: dict[str, int] = dict.fromkeys(shapes, 0)
        before = read_note(self._state, {"rows": 0})
        self.done, self._checksums = before["rows"], before.get("checksums", self._checksums)
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

    def _whole(self, shapes: Shapes) -> bool:
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

    def fill(self, compute: Callable[[slice], Mapping[str, torch.Tensor]], pace: Pace, unit: str) -> None:
        """Compute the rows that are missing, ``pace.batch`` at a time; out of GPU memory, half as many.

        Args:
            compute: returns the values of a range of rows, by array.
            unit: what the log calls rows.

        Raises:
            UserError: one row does not fit into the GPU's memory, or the end was asked for.
        """
        import torch  # here, so that this module is light

        if self.done:
            log.info("resuming after %d of %d %s", self.done, self._total, unit)
        first, batch = self.done, pace.batch
        began = told = time.monotonic()
        while self.done < self._total:
            self._end_if_due(pace.request)
            try:
                rows = compute(slice(self.done, min(self.done + batch, self._total)))
            except torch.cuda.OutOfMemoryError:
                if batch == 1:
                    raise UserError("One evaluation does not fit into GPU memory; use a GPU with more.") from None
                torch.cuda.empty_cache()
                batch = (batch + 1) // 2
                log.warning("out of GPU memory; going on with %d %s at a time", batch, unit)
                continue
            self.store(rows)
            now = time.monotonic()
            if now - told > LOG_SECONDS or self.done == self._total:
                told, speed = now, (self.done - first) / (now - began)
                left = (self._total - self.done) / speed
                log.info("%d of %d %s, %.1f per second, %.0f s to go", self.done, self._total, unit, speed, left)

    def _end_if_due(self, request: StopRequest | None) -> None:
        """End the job where ``request`` asks for it; what is stored stays."""
        if request is not None and (reason := request.due()):
            raise UserError(
                f"'{self.folder}' ends after {self.done} of {self._total} rows, saved, because {reason}; run again to "
                "go on."
            )

    def _remove_stale(self, root: Path, name: str, settings: Mapping[str, Any]) -> None:
        for stale in sorted(root.glob(f"{name}-*")):
            if stale == self.folder:
                continue
            before = read_note(stale / "settings.json", {})
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
        remove_if_empty(self.folder.parent)
