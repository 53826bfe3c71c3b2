"""Content digests that bind results to what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmin.runtime.links import link_mark

# The files that make a pipeline, and the settings of a base that leave it as it is.
_PIPELINE = (".json", ".safetensors", ".txt")
_UNCHANGED = {"config": None, "precision": "float32", "guidance": None}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, shortened to 16 hex digits."""
    return sha256(path)[:16]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def base_digest(base: Mapping[str, Any]) -> str:
    """Return a digest of a base pipeline: of the files of a folder, of one file and its configs, or of name and
    revision on the hub.

    A preconditioned loss, another guidance or rounded weights make another base of the same files.
    """
    path, config = Path(base["path"]), base.get("config")
    # Settings that change nothing are left out, as from bases that were described before there were any.
    base = {key: value for key, value in base.items() if value != _UNCHANGED.get(key, base)}
    if not path.is_dir() and not path.is_file():
        return config_digest(base)
    loss = ["preconditioned"] if base.get("preconditioned") else []
    further: dict[str, Any] = {key: base[key] for key in ("precision", "guidance") if key in base}
    digests: Any = _folder_digests(path, _PIPELINE) if path.is_dir() else file_digest(path)
    if path.is_file() and config:
        further["config"] = _folder_digests(Path(config), _PIPELINE) if Path(config).is_dir() else config
    return config_digest(base["family"], digests, *loss, *([further] if further else []))


def weights_digest(weights: Path) -> str:
    """Return a digest of trained weights: of an adapter file, or of the weights in a pipeline folder."""
    return config_digest(_folder_digests(weights, (".safetensors",))) if weights.is_dir() else file_digest(weights)


def describe_weights(weights: Path) -> dict[str, str]:
    """Return what a description says of weights: their digest, and that of a pipeline folder's other files."""
    rest = {"pipeline": config_digest(_folder_digests(weights, (".json", ".txt")))} if weights.is_dir() else {}
    return {"weights": weights_digest(weights), **rest}


def are_described(weights: Path, facts: Mapping[str, Any]) -> bool:
    """Say whether weights are those that a description was made of; it may be silent on the other files."""
    found = describe_weights(weights)
    return found == {**{key: facts.get(key, value) for key, value in found.items()}, "weights": facts["weights"]}


def _folder_digests(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the digests of a folder's files by their paths in it, and where links in it lead that are no files."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and (path.is_dir() or (path.suffix in suffixes and not path.exists())):
            digest = link_mark(path, folder)
        elif path.suffix in suffixes:
            digest = file_digest(path)
        else:
            continue
        found.append((str(path.relative_to(folder)), digest))
    return found


def config_digest(*parts: Any) -> str:
    """Return a digest of JSON-like values, 16 hex digits; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
