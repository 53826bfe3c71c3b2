"""The list of papers, written from the citation file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render_papers(citation: Mapping[str, Any]) -> str:
    """Return a Markdown list of the references of a citation file (CFF 1.2.0), with a link where one has a ``url``.

    A reference needs ``abbreviation``, the name that docstrings and pages use, ``title``, ``authors`` and ``year``.
    """
    return "\n".join(_line(paper) for paper in citation["references"])


def _line(paper: Mapping[str, Any]) -> str:
    venue = paper.get("conference", {}).get("name") or paper.get("journal") or "preprint"
    title = f"[{paper['title']}]({paper['url']})" if "url" in paper else paper["title"]
    return f"- **{paper['abbreviation']}**: {_names(paper['authors'])}. {title}. {venue}, {paper['year']}."


def _names(authors: Sequence[Mapping[str, str]]) -> str:
    names = [f"{author['given-names']} {author['family-names']}" for author in authors]
    return ", ".join(names) if len(names) <= 5 else f"{names[0]} and others"
