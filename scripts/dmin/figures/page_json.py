"""Data of a page as JSON inside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# With these escaped, no string can end the script element or open a comment, whatever a caption holds.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def script_json(data: Mapping[str, Any]) -> str:
    """Return data as JSON that can stand in a script element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)
