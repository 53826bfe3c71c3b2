"""One offline page to browse generated images and the training images that shaped them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from dmin.figures.blobs import Blobs
from dmin.figures.colours import NOISE
from dmin.figures.explorer_data import About, Beside, Tables, collect_explorer_data
from dmin.figures.explorer_rankings import Ranked
from dmin.figures.page_json import script_json
from dmin.runtime.atomic import atomic_path

# In this order they are one script.
PARTS = ("data", "elements", "charts", "parts", "marks", "cards", "images", "training", "map", "files", "main")


def write_explorer(
    path: Path, tables: Tables, rankings: Mapping[str, Ranked], about: About, beside: Beside | None = None
) -> None:
    """Write the explorer of a run as one self-contained HTML page, atomically.

    Args:
        path: where the page goes.
        tables: the queries and the training images.
        rankings: by label; the first is shown first. They may hold more ranks than are shown: detection rates use all.
        beside: what else the run has.

    Raises:
        UserError: there is nothing to show, a table lacks a column, a ranking names an unknown training sample or
            holds a score that is not finite, or an image is unreadable.
    """
    blobs = Blobs()
    data = collect_explorer_data(tables, rankings, about, beside or Beside(), blobs)
    folder = files("dmin.figures")
    style = folder.joinpath("explorer.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath(f"explorer.{part}.js").read_text(encoding="utf-8") for part in PARTS)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(folder.joinpath("explorer.html.j2").read_text(encoding="utf-8"))
    # Piece by piece: a page may be 25 MB.
    pieces = template.generate(
        run=about.run,
        subsets_known=about.subsets_known,
        confidence=about.confidence,
        noised=any(subset == NOISE for _, subset, *_ in data["samples"]),
        # No other script and no other style than these can run, not even one that a caption brings.
        policy=f"style-src {_digest(style)}; script-src {_digest(script)}",
        style=Markup(style),
        script=Markup(script),
        data=Markup(script_json(data)),
        blobs=blobs.texts,
    )
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
