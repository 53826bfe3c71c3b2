"""One offline page to browse generated images and the training images that shaped them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from dmin.figures.colours import NOISE
from dmin.figures.explorer_data import About, collect_explorer_data
from dmin.runtime.atomic import atomic_path

# With these escaped, no string can end the script element or open a comment, whatever a caption holds.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def write_explorer(
    path: Path, queries: pd.DataFrame, samples: pd.DataFrame, rankings: Mapping[str, pd.DataFrame], about: About
) -> None:
    """Write the explorer of a run as one self-contained HTML page, atomically.

    Args:
        path: where the page goes.
        queries: columns ``id, subset, prompt, seed, image{bytes,path}``.
        samples: columns ``id, subset, prompt, label, origin, image{bytes,path}``; only those a ranking shows are
            embedded.
        rankings: label of each ranking and its frame ``query_id, query_subset, rank, sample_id, sample_subset,
            score``; the first is shown first. They may hold more ranks than are shown: detection rates use all.

    Raises:
        UserError: there is nothing to show, a table lacks a column, a ranking names an unknown training sample or
            holds a score that is not finite, or an image is unreadable.
    """
    data = collect_explorer_data(queries, samples, rankings, about)
    source = files("dmin.figures").joinpath("explorer.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(source).render(
        run=about.run,
        subsets_known=about.subsets_known,
        noised=any(subset == NOISE for _, subset, *_ in data["samples"]),
        data=Markup(script_json(data)),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def script_json(data: dict[str, Any]) -> str:
    """Return data as JSON that can stand in a script element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)
