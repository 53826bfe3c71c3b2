"""Tensors of samples in one safetensors file, read by rows and checked by blocks of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmin.runtime.atomic import atomic_path
from dmin.runtime.digests import text_digest
from dmin.runtime.errors import UserError

# Rows that share a checksum: few enough that reading some rows hashes little more than these.
BLOCK_ROWS = 64
_HEADER = "dmin"
_FORMAT = "blocks"
_FAULTS = (SafetensorError, KeyError, TypeError, ValueError, OSError, RuntimeError)


def write_tensors(path: Path, facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors and what is said of them, atomically, with checksums of both."""
    stored = {name: value.contiguous() for name, value in tensors.items()}
    checksums = {name: _checksums(value) for name, value in stored.items()}
    text = json.dumps({**facts, "checksums": checksums, _FORMAT: BLOCK_ROWS}, sort_keys=True)
    with atomic_path(path) as temporary:
        # One key, because safetensors writes several in random order.
        save_file(stored, temporary, metadata={_HEADER: f"{text_digest(text)} {text}"})


class SealedTensors:
    """A readable file of :func:`write_tensors`; a context manager, in which what is torn becomes a sentence.

    ``facts`` is what was said of the tensors, ``names`` are theirs; ``sealed`` is false for a file that was written
    before there were checksums.

    Args:
        what: how the message calls the file.

    Raises:
        UserError: the file is missing, torn or foreign.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what

    def __enter__(self) -> Self:
        try:
            with ExitStack() as stack:
                self._file = stack.enter_context(safe_open(self.path, framework="pt"))
                self._read_header(self._file.metadata() or {})
                self._open = stack.pop_all()
        except _FAULTS as error:
            raise self._torn(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        self._open.close()
        if isinstance(error, _FAULTS):
            raise self._torn(error) from error

    def _torn(self, error: BaseException) -> UserError:
        return UserError(f"{self.what} '{self.path}' is torn or foreign ({error}); delete it and run again.")

    def tensor(self, name: str) -> torch.Tensor:
        """Return a whole tensor."""
        value: torch.Tensor = self._file.get_tensor(name)
        self._require(name, _checksums(value), 0)
        return value

    def rows(self, name: str, start: int, stop: int | None) -> torch.Tensor:
        """Return the rows ``start`` to ``stop`` of a tensor; the blocks that hold them are checked."""
        part = self._file.get_slice(name)
        count = part.get_shape()[0]
        first, last, _ = slice(start, stop).indices(count)
        low = first // self._block * self._block
        high = min(count, -(-last // self._block) * self._block)
        values: torch.Tensor = part[low:high]
        self._require(name, _checksums(values, self._block), low // self._block)
        return values[first - low : max(first, last) - low]

    def rows_at(self, name: str, places: Sequence[int]) -> torch.Tensor:
        """Return the rows of a tensor at ``places``, in that order; each block that holds some is read once."""
        blocks: dict[int, list[int]] = {}
        for row, place in enumerate(places):
            blocks.setdefault(place // self._block, []).append(row)
        if not blocks:
            return self.rows(name, 0, 1)[:0]
        parts = []
        for block, rows in blocks.items():
            start = block * self._block
            parts.append(self.rows(name, start, start + self._block)[[places[row] - start for row in rows]])
        order = torch.tensor([row for rows in blocks.values() for row in rows])
        return torch.cat(parts)[order.argsort()]

    def check(self) -> bool:
        """Read everything; return whether it had checksums."""
        for name in self.names:
            self.tensor(name)
        return self.sealed

    def _read_header(self, metadata: Mapping[str, str]) -> None:
        self._block, self._checksums = BLOCK_ROWS, dict[str, list[str]]()
        self.names: list[str] = sorted(self._file.keys())
        digest, _, text = metadata.get(_HEADER, "").partition(" ")
        self.sealed = len(digest) == 64
        if not self.sealed:
            self.facts: dict[str, Any] = _unsealed_facts(metadata)
            return
        if text_digest(text) != digest:
            raise ValueError("its header fails the checksum")
        self.facts = json.loads(text)
        self._checksums, self._block = self.facts.pop("checksums"), self.facts.pop(_FORMAT)
        if sorted(self._checksums) != self.names:
            raise ValueError("it holds other tensors than its header says")

    def _require(self, name: str, found: Sequence[str], first: int) -> None:
        if self.sealed and self._checksums[name][first : first + len(found)] != list(found):
            raise ValueError(f"it fails the checksum of '{name}'")


def _unsealed_facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what a file says that was written before there were checksums: one JSON object, or a key for each fact."""
    if _HEADER in metadata:
        return dict(json.loads(metadata[_HEADER]))
    return {key: json.loads(value) for key, value in metadata.items()}


def _checksums(values: torch.Tensor, block: int = BLOCK_ROWS) -> list[str]:
    """Return the SHA-256 of every block of rows, each with its type and shape; of a scalar as a whole."""
    parts = values.split(block) if values.ndim and len(values) else [values]
    return [_checksum(part.contiguous()) for part in parts]


def _checksum(values: torch.Tensor) -> str:
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)} ".encode())
    if values.numel():
        # Of nothing, torch has no view of other types.
        digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
