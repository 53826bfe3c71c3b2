"""What stands for a link to a folder where files are told by their bytes."""

from __future__ import annotations

import os
from pathlib import Path


def link_mark(link: Path, root: Path) -> str:
    """Return where a link below ``root`` leads, from there on; what it leads to is read where it lies."""
    return f"link to {os.path.relpath(link.resolve(), root.resolve())}"
