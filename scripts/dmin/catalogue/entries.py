"""Entries that stand at the top of the files they describe, read without importing them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[1]


@cache
def read_entries(folder: str, constant: str) -> dict[str, dict[str, Any]]:
    """Return the literal ``constant = {...}`` of every file of a folder of the library that has one, by file name.

    Raises:
        ValueError: an entry is no literal; the message names its file.
    """
    entries = {}
    for path in sorted((LIBRARY / folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [constant]:
                try:
                    entries[path.stem] = ast.literal_eval(node.value)
                except ValueError as error:
                    raise ValueError(f"{constant} of '{path}' is no literal; write its values out.") from error
    return entries
