"""One file of the gradient cache: some samples' sketches and norms, with what they were made from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dmin.runtime.atomic import atomic_path
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE

# What a shard is called that is named by the rows of its samples: two that change places are both foreign there.
PLACE = "place"
_ROWS = re.compile(r"\d+-\d+")
SAMPLE_KEYS = ("ids", "checksums", PLACE, PROVENANCE)


class Shard:
    """A readable shard: ``sketch [n, T, cache_dim]`` and ``raw [n, T, P]`` of unit gradients, ``norm [n, T]``.

    ``metadata`` holds what the gradients depend on; shards of one run agree on it, and train and query shards too.
    ``provenance`` holds what this shard was made from, empty where that was not recorded; ``digest`` covers everything.

    Raises:
        UserError: the file is missing, torn or foreign.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="np") as file:
                digest, _, text = file.metadata()["dmin"].partition(" ")
            if hashlib.sha256(text.encode()).hexdigest() != digest:
                raise ValueError("its header fails the checksum")
            header = json.loads(text)
            if header.get(PLACE, path.stem) != path.stem:
                raise ValueError(f"it was written as '{header[PLACE]}'")
            self.digest = digest
            self.provenance: dict[str, Any] = header.get(PROVENANCE, {})
            self.ids: list[str] = header["ids"]
            self._checksums: dict[str, str] = header["checksums"]
            self.names = set(self._checksums)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise UserError(
                f"Gradient shard '{path}' is torn or foreign ({error}); delete it and run again."
            ) from error
        self.metadata: dict[str, Any] = {key: value for key, value in header.items() if key not in SAMPLE_KEYS}

    def read(self, name: str) -> np.ndarray:
        """Return one tensor, checked against its checksum.

        Raises:
            UserError: the shard does not hold it, or the checksum fails.
        """
        if name not in self.names:
            raise UserError(f"Gradient shard '{self.path}' holds no '{name}'; set gradients.keep_raw and run again.")
        try:
            with safe_open(self.path, framework="np") as file:
                values: np.ndarray = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise UserError(f"Gradient shard '{self.path}' is torn ({error}); delete it and run again.") from error
        if _checksum(values) != self._checksums[name]:
            raise UserError(f"Gradient shard '{self.path}' fails the checksum of '{name}'; delete it and run again.")
        return values


def write_shard(
    path: Path,
    ids: Sequence[str],
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write a shard atomically, with a checksum of every tensor and of the header; ``made`` is its provenance."""
    checksums = {name: _checksum(values) for name, values in tensors.items()}
    header = {**metadata, "ids": list(ids), "checksums": checksums}
    if _ROWS.fullmatch(path.stem):
        header[PLACE] = path.stem
    text = json.dumps(header if made is None else {**header, PROVENANCE: made}, sort_keys=True)
    with atomic_path(path) as temporary:
        digest = hashlib.sha256(text.encode()).hexdigest()
        # One key, because safetensors writes several in random order.
        save_file(dict(tensors), temporary, metadata={"dmin": f"{digest} {text}"})


def _checksum(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).view(np.uint8).data).hexdigest()


def open_shards(paths: Sequence[Path]) -> list[Shard]:
    """Open the shards of one split, in order.

    Raises:
        UserError: two shards were made under different settings; the setting is named.
    """
    shards = [Shard(path) for path in paths]
    for shard in shards[1:]:
        require_equal_metadata(shards[0].metadata, shard.metadata, str(shards[0].path), str(shard.path))
    return shards


def shards_digest(shards: Sequence[Shard]) -> str:
    """Return a digest of the shards of one split, in order."""
    return config_digest([shard.digest for shard in shards])


def require_equal_metadata(left: Mapping[str, Any], right: Mapping[str, Any], one: str, other: str) -> None:
    """Refuse to mix gradients that differ in anything but their samples.

    Raises:
        UserError: naming the first field that differs.
    """
    for key in sorted(set(left) | set(right)):
        if left.get(key) != right.get(key):
            raise UserError(
                f"'{one}' and '{other}' differ in {key} ({left.get(key)!r} against {right.get(key)!r}); "
                "delete the stale one and run again."
            )
