"""Digests of what a result was made from, taken again from the files that stand there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmin.gradients.shard import Shard, shards_digest
from dmin.models.training.checkpoints import checkpoint_weights
from dmin.runtime.digests import base_digest, config_digest, file_digest, sha256, weights_digest
from dmin.runtime.parquet import parquet_digest


class Ancestors:
    """Takes each digest once, however many results were made from the file.

    An ancestor is ``[kind, value]``: ``file``, ``sha256``, ``parquet`` or ``weights`` with a path; ``shards`` with the
    paths of a split; ``checkpoint`` with ``[folder, step]``; ``base`` with the base's config; ``list`` with ancestors;
    ``contents`` with the digest of files that lie elsewhere. Paths are relative to the folder ``root``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, str] = {}
        self._kinds: Mapping[str, Callable[[Any], str]] = {
            "file": lambda value: file_digest(root / value),
            "sha256": lambda value: sha256(root / value),
            "parquet": lambda value: parquet_digest(root / value),
            "weights": lambda value: weights_digest(self._existing(root / value)),
            "checkpoint": lambda value: weights_digest(self._existing(checkpoint_weights(root / value[0], value[1]))),
            "base": base_digest,
            "contents": str,
            "shards": lambda value: shards_digest([Shard(root / path) for path in value]),
            "list": lambda value: config_digest([self.digest(ancestor) for ancestor in value]),
        }

    def digest(self, ancestor: Sequence[Any]) -> str:
        """Return the digest of an ancestor as the result made from it has recorded it.

        Raises:
            OSError: a file is missing.
            UserError: a shard is torn.
        """
        key = json.dumps(ancestor, sort_keys=True)
        if key not in self._known:
            kind, value = ancestor
            self._known[key] = self._kinds[kind](value)
        return self._known[key]

    @staticmethod
    def _existing(path: Path) -> Path:
        if not path.exists():
            raise FileNotFoundError(path)
        return path
