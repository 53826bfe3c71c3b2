"""Everything in the project's texts that is written from its tables, schema, citation and lock.

``python -m dmin.settings.pages`` in a checkout brings all of it into step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from dmin.catalogue.pages import (
    render_behaviours,
    render_estimators,
    render_families,
    render_methods,
    render_methods_by_input,
)
from dmin.runtime.errors import UserError
from dmin.settings.api_page import render_api
from dmin.settings.environment import render_environment
from dmin.settings.papers import render_papers
from dmin.settings.reference import render_reference
from dmin.settings.schema import read_schema

SCHEMA = "schemas/config.schema.yaml"


@dataclass(frozen=True)
class Part:
    """A part of a page that is written by code.

    Attributes:
        page: the page's path in the checkout.
        name: what the markers around the part are called; empty where the page is written whole.
        render: what gives the part's text, from the checkout's root.
    """

    page: str
    name: str
    render: Callable[[Path], str]


def _environment(root: Path) -> str:
    return render_environment(root / "requirements.txt", root / "requirements-torch.txt")


PARTS = (
    Part("config/README.md", "reference", lambda root: render_reference(read_schema(root / SCHEMA))),
    Part("README.md", "methods", lambda root: render_methods_by_input()),
    Part("README.md", "papers", lambda root: render_papers(_read(root, "CITATION.cff"))),
    Part("docs/methods.md", "families", lambda root: render_families()),
    Part("docs/methods.md", "scores", lambda root: render_methods()),
    Part("docs/contributors.md", "behaviours", lambda root: render_behaviours()),
    Part("docs/contributors.md", "estimators", lambda root: render_estimators()),
    Part("docs/api.md", "", lambda root: render_api()),
    Part("envs/dmin.yaml", "", _environment),
)


def update_pages(root: Path) -> list[str]:
    """Rewrite the parts of the pages of a checkout, and return the pages that were out of step.

    Raises:
        UserError: a page lacks the markers of one of its parts.
    """
    before = {part.page: (root / part.page).read_text(encoding="utf-8") for part in PARTS}
    after = dict(before)
    for part in PARTS:
        text = part.render(root)
        after[part.page] = replace_part(after[part.page], part.page, part.name, text) if part.name else text
    stale = [page for page, text in after.items() if text != before[page]]
    for page in stale:
        (root / page).write_text(after[page], encoding="utf-8")
    return stale


def replace_part(text: str, page: str, name: str, part: str) -> str:
    """Return ``text`` with ``part`` between the markers ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        UserError: the markers are not there, in order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"'{page}' lacks the lines '{begin}' and '{end}'; put them where its {name} belong.")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"


def _read(root: Path, name: str) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((root / name).read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    for page in update_pages(Path()):
        print(page)  # noqa: T201
