"""What a result was made from, and whether its bytes are those that were written."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from dmin.runtime.atomic import write_json
from dmin.runtime.digests import sha256
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json

# The key of a description, or of a shard's header, that holds its provenance.
PROVENANCE = "provenance"
# The file beside a result that notes the contents of the user's files that it was made from, and its settings.
CONTENTS = ".contents.json"
PACKAGES = ("dmin", "torch", "diffusers", "peft", "transformers", "numpy", "hnswlib")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def made_by(code: str) -> dict[str, Any]:
    """Return what makes a result of its settings and inputs: the digest of the job's code, and the versions.

    Work that something else left unfinished is not gone on with.
    """
    return {"code": code, "versions": versions()}


def provenance(
    config: Mapping[str, Any], made_from: Mapping[str, str], files: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Describe a result: its part of the config, digests of what it was made from, versions, and its checksums.

    Args:
        config: the settings that the result depends on.
        made_from: digests by role, such as ``weights`` or ``samples``.
        files: the result's finished files by role; their SHA-256 is kept. Shards carry checksums of their own.
    """
    checksums = {role: sha256(path) for role, path in (files or {}).items()}
    return {"config": dict(config), "made_from": dict(made_from), "versions": versions(), "sha256": checksums}


def write_contents(contents: str, path: Path, config: Mapping[str, Any] | None = None) -> None:
    """Note beside the result ``path`` the digest of the user's files that it was made from, and its settings."""
    write_json({"contents": contents, "config": dict(config or {})}, path.with_suffix(CONTENTS))


def require_whole(path: Path, role: str, what: str, given: Mapping[str, Any] | None = None) -> None:
    """Compare a file with the checksum that its description, the JSON file beside it, holds for ``role``.

    A file without a description, or one whose description holds no checksums, passes.

    Args:
        what: how the message calls the file.
        given: the description where it was read already.

    Raises:
        UserError: they differ, or there is no such file.
    """
    beside = path.with_suffix(".json")
    if given is None:
        given = read_json(beside) if beside.exists() else {}
    expected = given.get(PROVENANCE, {}).get("sha256", {}).get(role)
    # A missing file and a folder in its place are no file.
    if not path.is_file():
        raise UserError(f"{what} '{path}' is no file; remove what stands there and run the rule that makes it.")
    if expected is not None and sha256(path) != expected:
        raise UserError(f"{what} '{path}' is torn (it fails its checksum); delete it and run again.")


def load_array(path: Path, role: str, what: str) -> np.ndarray:
    """Map the array of a ``.npy`` file into memory, checked against the checksum in the JSON file beside it.

    Raises:
        UserError: the file is torn, holds objects, which would be a pickle, or fails its checksum.
    """
    require_whole(path, role, what)
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{what} '{path}' is torn ({error}); delete it and run again.") from error
    return array
