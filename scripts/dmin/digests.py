"""Content digests that bind results to what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, shortened to 16 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def base_digest(base: Mapping[str, Any]) -> str:
    """Return a digest of a base pipeline: of the files of a folder, or of name and revision on the hub."""
    folder = Path(base["path"])
    if not folder.is_dir():
        return config_digest(base)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt"))
    return config_digest(base["family"], [(str(path.relative_to(folder)), file_digest(path)) for path in files])


def config_digest(*parts: Any) -> str:
    """Return a digest of JSON-like values, 16 hex digits; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
