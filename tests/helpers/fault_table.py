"""The table of faults in docs/reliability.md, from the marks of the tests.

``python tests/helpers/fault_table.py`` writes it again.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"


def marked_faults() -> list[tuple[str, str, str]]:
    """Return (fault, what happens, test) of every test marked ``fault``, sorted."""
    faults = []
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    name, outcome = (ast.literal_eval(argument) for argument in mark.args)
                    faults.append((name, outcome, f"{path.relative_to(PROJECT / 'tests')}::{node.name}"))
    return sorted(faults)


def render_table() -> str:
    """Return the table in Markdown."""
    rows = [f"| {name} | {outcome} | `{test}` |" for name, outcome, test in marked_faults()]
    return "\n".join([f"{len(rows)} faults tried.\n", "| fault | what happens | tried in |", "|---|---|---|", *rows])


def update_page(page: Path) -> None:
    """Put the table between the markers of a page."""
    head, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{render_table()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    update_page(PAGE)
    sys.exit(0)
