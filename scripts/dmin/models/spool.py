"""Tensors that grow on disk, row by row, until a file is made of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Self

import numpy as np
import torch


class Spool:
    """Named tensors written in batches of rows to temporary files, so that a whole one is never in memory.

    A context manager; the files, which have no name in the folder, end with it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, name: str, rows: torch.Tensor) -> None:
        """Add rows ``[n, ...]`` to a tensor; all of its rows have one shape and type.

        Raises:
            ValueError: these have others.
        """
        kind = (tuple(rows.shape[1:]), rows.dtype)
        if self._kinds.setdefault(name, kind) != kind:
            raise ValueError(f"rows of '{name}' are {kind}, those before them {self._kinds[name]}")
        if name not in self._files:
            self._files[name] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        # A fresh tensor: one row of a strided one counts as contiguous, and yet cannot be seen as bytes.
        values = torch.empty(rows.shape, dtype=rows.dtype).copy_(rows.detach())
        self._files[name].write(values.view(-1).view(torch.uint8).numpy().data)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor ``[N, ...]``, mapped from its file: to be read while the spool is open."""
        return {name: self._map(name, *kind) for name, kind in self._kinds.items()}

    def _map(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        self._files[name].flush()
        # Copied on write, because torch takes no array that cannot be written.
        values = torch.from_numpy(np.memmap(self._files[name], np.uint8, "c")).view(dtype)
        return values.view(-1, *shape)
