"""Files of a model's folder: regular, inside it, whole, and plain JSON where they say so."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import is_lfs_pointer, shown

# What is read of a model beside its weights; everything else in its folder is never opened.
READ = (".json", ".txt", ".model")
LARGEST_JSON = 2**26


def require_plain(path: Path, folder: Path) -> None:
    """Refuse a file of a model's ``folder`` that is not one: a pointer, a pipe, or a link that leads elsewhere.

    Links of the hub's cache, from a snapshot to its blobs, stay.

    Raises:
        UserError: naming the file.
    """
    try:
        real, status = path.resolve(strict=True), path.stat()
    except (OSError, RuntimeError) as error:
        raise UserError(f"'{shown(path)}' cannot be read ({reason(error)}); restore it.") from error
    root = folder.resolve()
    allowed = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(real.is_relative_to(place) for place in allowed):
        raise UserError(
            f"'{shown(path)}' is a link that leads out of the model's folder, and is not followed; put a copy in its "
            "place."
        )
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"'{shown(path)}' is no regular file; restore it.")
    if status.st_size < 1024 and is_pointer(path):
        raise UserError(
            f"'{shown(path)}' is a Git LFS pointer and not the file itself; run git lfs pull or download it again."
        )


def is_pointer(path: Path) -> bool:
    """Tell whether a file is what Git LFS leaves in the place of a large one."""
    with path.open("rb") as file:
        return is_lfs_pointer(file.read(64))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        UserError: it is torn, is no object, or is larger than any config is.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON >> 20} MiB")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"'{shown(path)}' is not whole JSON ({reason(error)}); restore it.") from error
    return value
