"""The tables of faults and attacks in docs/reliability.md, from the marks of the tests.

``python tests/helpers/fault_table.py`` writes them again.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "reliability.md"
# What strangers' files come in by, in the order of the table.
DOORS = ("model", "adapter", "image", "text", "config", "page", "rest")


def marked_faults() -> list[tuple[str, str, str]]:
    """Return (fault, what happens, test) of every test marked ``fault``, sorted."""
    return sorted((name, outcome, test) for test, (name, outcome) in _marks("fault"))


def marked_attacks() -> list[tuple[str, str, str, str]]:
    """Return (door, attack, what happens, test) of every mark ``attack``, of a test or of one of its cases."""
    rows = [(door, name, outcome, test) for test, (door, name, outcome) in _marks("attack")]
    return sorted(rows, key=lambda row: (DOORS.index(row[0]), row[1]))


def _marks(kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (test, arguments) of each mark of a kind; a case's test is its file, for a list may serve several."""
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        test = str(path.relative_to(PROJECT / "tests"))
        tree = ast.parse(path.read_text())
        of_tests = {
            id(mark): node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            for mark in node.decorator_list
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{kind}":
                name = of_tests.get(id(node))
                yield f"{test}::{name}" if name else test, tuple(map(ast.literal_eval, node.args))


def render_faults() -> str:
    """Return the table of faults in Markdown."""
    rows = [f"| {name} | {outcome} | `{test}` |" for name, outcome, test in marked_faults()]
    return "\n".join([f"{len(rows)} faults tried.\n", "| fault | what happens | tried in |", "|---|---|---|", *rows])


def render_attacks() -> str:
    """Return the table of attacks in Markdown."""
    rows = [f"| {door} | {name} | {outcome} | `{test}` |" for door, name, outcome, test in marked_attacks()]
    head = [f"{len(rows)} attacks tried.\n", "| door | attack | what happens | tried in |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def update_page(page: Path) -> None:
    """Put the tables between their markers of a page."""
    text = page.read_text()
    for name, table in (("faults", render_faults()), ("attacks", render_attacks())):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    page.write_text(text)


if __name__ == "__main__":
    update_page(PAGE)
    sys.exit(0)
