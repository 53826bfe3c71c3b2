"""The table of rooms in docs/design.md is the library as it stands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "scripts" / "dmin"


def rooms_of(page: str) -> list[str]:
    """Return the first column of the table of rooms, the one that has ``runtime`` and ``catalogue``."""
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    columns = [re.findall(r"^\| `(?:scripts/dmin/)?(\w+)/?`", table, re.MULTILINE) for table in tables]
    found = [column for column in columns if {"runtime", "catalogue"} <= set(column)]
    assert len(found) == 1, f"docs/design.md has {len(found)} tables of rooms"
    return found[0]


def test_page_names_every_room_once_and_no_other() -> None:
    rooms = rooms_of((ROOT / "docs" / "design.md").read_text())
    assert sorted(rooms) == sorted(path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists())
