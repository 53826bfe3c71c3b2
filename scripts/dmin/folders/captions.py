"""The captions that trainers leave beside images: ``a.txt`` or ``a.caption`` of ``a.png``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..runtime.errors import UserError
from ..runtime.text import read_text, shown
from .files import CAPTIONS, require_inside


def has_caption(image: Path) -> bool:
    """Tell whether a file beside an image holds its caption."""
    return any(image.with_suffix(end).exists() for end in CAPTIONS)


def read_caption(image: Path, roots: Sequence[Path]) -> str | None:
    """Return the caption beside an image without outer blanks; None where there is no file of it.

    Raises:
        UserError: the file lies elsewhere, is no text in UTF-8, or there are two that differ.
    """
    found = {}
    for file in map(image.with_suffix, CAPTIONS):
        if file.exists():
            require_inside(file, roots)
            found[file] = read_text(file, "Caption").strip()
    if len(set(found.values())) > 1:
        names = " and ".join(f"'{shown(file.name)}'" for file in found)
        raise UserError(f"{names} are captions of one image and differ; keep one.")
    return next(iter(found.values()), None)
