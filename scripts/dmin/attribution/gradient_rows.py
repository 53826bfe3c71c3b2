"""Cached gradients of one split at one width, read in bounded blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmin.gradients.shard import open_shards, require_equal_metadata, shards_digest
from dmin.gradients.stream import LARGE_BYTES, stream_products
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE, load_array
from dmin.runtime.readers import read_json

BLOCK_BYTES = 2**27


class GradientRows:
    """Unit gradients ``[N, T, width]`` and norms ``[N, T]`` of the samples ``ids``.

    The gradients come from a compressed array, or, uncompressed, from the shards themselves. ``digest`` covers what is
    read. ``threads`` share the products of a large compressed array, which do not depend on their number.

    Args:
        shards: the split's shards, which hold the norms.
        sketch: the compressed array, or None for the uncompressed gradients.

    Raises:
        UserError: a file is torn, or the files' settings or samples differ.
    """

    def __init__(self, shards: Sequence[Path], sketch: Path | None) -> None:
        self.threads = 1
        self._shards = open_shards(shards)
        self.metadata: dict[str, Any] = self._shards[0].metadata
        self.digest = shards_digest(self._shards)
        self.ids = [sample for shard in self._shards for sample in shard.ids]
        self._norms: np.ndarray = np.concatenate([shard.read("norm") for shard in self._shards])
        self._sketch: np.ndarray | None = None
        self.width: int = self.metadata["P"]
        if sketch is not None:
            description = read_json(sketch.with_suffix(".json"))
            made = description.pop(PROVENANCE, {})
            self.width = description.pop("v")
            if description.pop("ids") != self.ids:
                raise UserError(f"Sketch '{sketch}' holds other samples than its shards; delete it and run again.")
            require_equal_metadata(description, self.metadata, str(sketch), str(shards[0]))
            if made and made["made_from"]["shards"] != self.digest:
                raise UserError(f"Sketch '{sketch}' was made from other shards than these; delete it and run again.")
            self._sketch = load_array(sketch, "sketch", "Sketch")
            if made:
                self.digest = made["sha256"]["sketch"]

    @property
    def norms(self) -> np.ndarray:
        """Norms ``[N, T]`` of the gradients before compression.

        Raises:
            UserError: they are not known, as of published gradients.
        """
        if np.isnan(self._norms).all():
            raise UserError(
                f"Gradients '{self._shards[0].path}' have no norms, because they were published without them; choose a "
                "method of unit gradients alone, such as dmin."
            )
        return self._norms

    @property
    def errors(self) -> np.ndarray:
        """Root of the mean squared error of the output, ``[N, T]``, of a cache that holds it.

        Raises:
            UserError: the cache holds none.
        """
        if "error" not in self._shards[0].names:
            raise UserError(
                f"Gradients '{self._shards[0].path}' have no errors of the output; score from the cache output_mean."
            )
        return np.concatenate([shard.read("error") for shard in self._shards])

    @property
    def v(self) -> str:
        """The width as tables name it: a number, or ``full`` for uncompressed gradients."""
        return "full" if self._sketch is None else str(self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of timesteps, ``(N, T)``."""
        return (len(self.ids), len(self.metadata["timesteps"]))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield float32 blocks ``[n, T, width]`` with the rows that they are, in order."""
        rows = max(1, BLOCK_BYTES // (4 * len(self.metadata["timesteps"]) * self.width))
        if self._sketch is not None:
            for start in range(0, len(self.ids), rows):
                yield slice(start, start + rows), self._sketch[start : start + rows].astype(np.float32)
            return
        first = 0
        for shard in self._shards:
            raw = shard.read("raw")
            for start in range(0, len(shard.ids), rows):
                block = raw[start : start + rows].astype(np.float32)
                yield slice(first + start, first + start + len(block)), block
            first += len(shard.ids)

    def products(self, queries: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield inner products float32 ``[Q, n]`` of ``queries [Q, T * width]`` with all rows, and which rows they are.

        As :meth:`blocks`, in order and in bounded memory; a compressed array is streamed at the speed of its file.
        """
        if self._sketch is not None:
            # Small arrays are multiplied by NumPy, whose BLAS has threads of its own.
            threads = self.threads if self._sketch.nbytes >= LARGE_BYTES else 1
            yield from stream_products(self._sketch, queries, threads)
            return
        for rows, block in self.blocks():
            yield rows, queries @ block.reshape(len(block), -1).T

    def columns(self, start: int, width: int) -> np.ndarray:
        """Return the raw gradients' cells ``start ... start + width``, timesteps concatenated, ``[N, T * width]``."""
        cells = slice(start, start + width)
        if self._sketch is not None:
            unit = self._sketch[..., cells].astype(np.float32)
        else:
            unit = np.concatenate([block[..., cells] for _, block in self.blocks()])
        return (unit * self.norms[..., None]).reshape(len(self.ids), -1)

    def all(self) -> np.ndarray:
        """Return every row at once, float32 ``[N, T, width]``."""
        return np.concatenate([block for _, block in self.blocks()])


def require_equal_settings(queries: GradientRows, train: GradientRows, own: Sequence[str] = ()) -> None:
    """Refuse queries and training samples whose gradients differ in more than their samples and the settings ``own``.

    Raises:
        UserError: naming the first setting that differs.
    """
    require_equal_metadata(
        {**_without(queries.metadata, own), "width": queries.width},
        {**_without(train.metadata, own), "width": train.width},
        "query gradients",
        "training gradients",
    )


def _without(metadata: dict[str, Any], own: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in own}
