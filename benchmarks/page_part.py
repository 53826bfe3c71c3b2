"""A generated part of a page, between the marks ``<!-- name -->`` and ``<!-- /name -->``."""

from __future__ import annotations

import re
from pathlib import Path

SCALING = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"


def write_part(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    page.write_text(marked.sub(lambda found: found[1] + text + found[2], page.read_text("utf-8")), encoding="utf-8")
