"""An offline page, or a folder, to browse generated images and the training images that shaped them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dmin.figures.blobs import PER_FOLDER, PIECE, FileBlobs, PageBlobs
from dmin.figures.colours import NOISE
from dmin.figures.explorer_data import About, Beside, Tables, collect_explorer_data
from dmin.figures.explorer_rankings import Ranked
from dmin.figures.explorer_space import FOLDER, PAGE
from dmin.figures.page_json import script_json
from dmin.runtime.atomic import atomic_folder, atomic_path
from dmin.runtime.checksums import write_sums

# In this order they are one script; the second of all knows where bytes are: in the page, or in its folder.
FIRST = "data"
PARTS = ("elements", "charts", "parts", "marks", "cards", "images", "training", "map", "contributors", "files", "main")
LIST = "files.sha256"
# Texts that become scripts, addresses of scripts or markup end in an error, and no other address counts from elsewhere.
_STRICT = "require-trusted-types-for 'script'; trusted-types dmin; base-uri 'none'; form-action 'none'"


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
    blobs = PageBlobs(PAGE)
    data = collect_explorer_data(tables, rankings, about, beside or Beside(), blobs)
    page = _Page(data, about.subsets_known, "page", blobs.texts)
    page.write(path, lambda style, script: f"img-src data:; style-src {style}; script-src {script}")


def write_explorer_folder(
    folder: Path, tables: Tables, rankings: Mapping[str, Ranked], about: About, beside: Beside | None = None
) -> None:
    """Write the explorer of a run as a folder that opens from a disk, of all training images, atomically.

    ``index.html`` is the page, ``files/`` its pictures and numbers, and ``files.sha256`` the checksums of these. Images
    are read one at a time. The arguments are those of :func:`write_explorer`, and so are the errors.
    """
    with atomic_folder(folder) as temporary:
        blobs = FileBlobs(temporary, FOLDER, PIECE)
        data = collect_explorer_data(tables, rankings, about, beside or Beside(), blobs)
        data["folder"] = {"piece": blobs.piece, "perFolder": PER_FOLDER, "pixels": FOLDER.pixels}
        write_sums(temporary / LIST, blobs.sums)
        page = _Page(data, about.subsets_known, "folder", [])
        # No browser compares a script beside a page that was opened as a file with a digest. So the page's one script
        # adds all others, and markup none.
        page.write(
            temporary / "index.html",
            lambda style, script: (
                f"img-src 'self' data:; style-src {style}; script-src {script} 'strict-dynamic'; {_STRICT}"
            ),
        )


@dataclass(frozen=True)
class _Page:
    data: Mapping[str, Any]
    subsets_known: bool
    bytes_in: str
    texts: Sequence[str]

    def write(self, path: Path, policy: Callable[[str, str], str]) -> None:
        """Write the page; ``policy`` says what it may load, from the digests of its style and of its script."""
        folder = files("dmin.figures")
        style = folder.joinpath("explorer.css").read_text(encoding="utf-8")
        parts = (FIRST, self.bytes_in, *PARTS)
        script = "\n".join(folder.joinpath(f"explorer.{part}.js").read_text(encoding="utf-8") for part in parts)
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string(folder.joinpath("explorer.html.j2").read_text(encoding="utf-8"))
        # Piece by piece: a page may be 25 MB.
        pieces = template.generate(
            run=self.data["run"],
            subsets_known=self.subsets_known,
            confidence=self.data["confidence"],
            noised=any(subset == NOISE for _, subset, *_ in self.data["samples"]),
            # No other script and no other style than these can run, not even one that a caption brings.
            policy=policy(_digest(style), _digest(script)),
            style=Markup(style),
            script=Markup(script),
            data=Markup(script_json(self.data)),
            blobs=self.texts,
        )
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
