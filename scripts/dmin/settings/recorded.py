"""The settings of images, as what is made of them keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..folders.files import is_local


def recorded(images: Mapping[str, Any], **further: Any) -> dict[str, Any]:
    """Return settings of images with further ones, but without a local path.

    Where files lie differs between machines; a digest of their contents, which is kept beside, tells which they are.
    """
    return {key: value for key, value in images.items() if key != "path" or not is_local(value)} | further
