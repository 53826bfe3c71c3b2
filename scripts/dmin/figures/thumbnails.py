"""Small copies of images as data URIs, each kept once."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from dmin.data.images import open_image
from dmin.runtime.errors import UserError

# Above this size a photograph is much smaller as WebP, while small drawings stay exact as PNG.
_PNG_LIMIT = 6 * 1024
_WEBP_QUALITY = 84


class Thumbnails:
    """Collects data URIs; equal images share one entry.

    Attributes:
        entries: ``[width, data URI]`` of each distinct image, in the order of first use.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[int, str]] = []
        self._index: dict[tuple[bytes, int], int] = {}
        self._uris: dict[str, int] = {}

    def add(self, cell: Mapping[str, Any], name: str, largest: int) -> int:
        """Add the image of a table cell ``{bytes, path}``, at most ``largest`` pixels wide and high.

        Returns:
            Its position in ``entries``.

        Raises:
            UserError: the cell holds no readable image; ``name`` says which.
        """
        data = cell.get("bytes") if isinstance(cell, Mapping) else None
        if not isinstance(data, bytes) or not data:
            raise UserError(f"Image '{name}' has no bytes in its table; make the table again.")
        key = (data, largest)
        if key not in self._index:
            width, uri = _encode(data, name, largest)
            if uri not in self._uris:
                self._uris[uri] = len(self.entries)
                self.entries.append((width, uri))
            self._index[key] = self._uris[uri]
        return self._index[key]


def _encode(data: bytes, name: str, largest: int) -> tuple[int, str]:
    try:
        image = open_image(data, name)
    except Exception as error:
        raise UserError(f"Image '{name}' is unreadable ({type(error).__name__}); make its table again.") from error
    transparent = "A" in image.mode or "transparency" in image.info
    image = image.convert("RGBA" if transparent else "RGB")
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    kind = "png"
    if buffer.tell() > _PNG_LIMIT:
        buffer = io.BytesIO()
        image.save(buffer, format="WEBP", quality=_WEBP_QUALITY, method=4)
        kind = "webp"
    return image.width, f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
