"""Where in a query and in a training image the score of the two comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import read_samples, sample_pixels
from dmin.figures.canvas import Canvas, wrap_caption
from dmin.figures.colours import MUTED, PALETTE
from dmin.figures.style import house_style, save_figure
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet

FOR, AGAINST = PALETTE[1], PALETTE[0]
_CELL, _GAP, _BETWEEN, _MARGIN, _CAPTION, _HEADING = 1.0, 0.06, 0.24, 0.2, 0.34, 0.34
# How much of the colour the strongest field of a map takes, and what is left of the picture's own contrast.
_STRONGEST, _CONTRAST = 0.85, 0.5
_QUERIES = 12


@dataclass(frozen=True)
class MappedPair:
    """A training image beside its query, each with its map.

    Attributes:
        image: uint8 ``[height, width, channels]``.
        caption: of the training image.
        score: that of the pair.
        query_map: ``[grid, grid]`` over the query.
        sample_map: the same over the training image; None where the method has none.
    """

    image: np.ndarray
    caption: str
    score: float
    query_map: np.ndarray
    sample_map: np.ndarray | None


@dataclass(frozen=True)
class MappedQuery:
    """A query with the training images that it is mapped with."""

    image: np.ndarray
    prompt: str
    pairs: Sequence[MappedPair]


@house_style
def plot_influence_maps(queries: Sequence[MappedQuery]) -> Figure:
    """Draw a line for each query: the query, then for every training image the query and that image under their maps.

    Orange fields raise the score and blue ones lower it; the strongest field of a map has the strongest colour.

    Raises:
        UserError: there is nothing to draw.
    """
    if not queries or not all(query.pairs for query in queries):
        raise UserError("The table of influence maps is empty; make it again.")
    pair = 2 * _CELL + _GAP
    width = 2 * _MARGIN + _CELL + max(len(query.pairs) for query in queries) * (_BETWEEN + pair)
    line = _CELL + _CAPTION + _BETWEEN / 2
    canvas = Canvas(width, 2 * _MARGIN + _HEADING + len(queries) * line)
    note = "Query, then query and training image under their maps: orange raises the score, blue lowers it"
    canvas.text(wrap_caption(note, width - 2 * _MARGIN, 7.5, 2), (_MARGIN, _MARGIN), size=7.5, colour=MUTED)
    for place, query in enumerate(queries):
        y = _MARGIN + _HEADING + place * line
        canvas.image(query.image, (_MARGIN, y), _CELL)
        canvas.text(wrap_caption(query.prompt, _CELL, 5.8, 3), (_MARGIN, y + _CELL + 0.04), size=5.8)
        for rank, entry in enumerate(query.pairs):
            x = _MARGIN + _CELL + _BETWEEN + rank * (pair + _BETWEEN)
            canvas.image(overlay(query.image, entry.query_map), (x, y), _CELL)
            shown = entry.image if entry.sample_map is None else overlay(entry.image, entry.sample_map)
            canvas.image(shown, (x + _CELL + _GAP, y), _CELL)
            canvas.text(f"score {entry.score:.3g}", (x, y + _CELL + 0.04), size=5.8, colour=MUTED)
            at = (x + _CELL + _GAP, y + _CELL + 0.04)
            canvas.text(wrap_caption(entry.caption, _CELL, 5.8, 3), at, size=5.8)
    return canvas.figure


def overlay(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an image under a map, uint8 ``[height, width, 3]``.

    Args:
        image: uint8 ``[height, width, channels]``.
        values: ``[grid, grid]``, of either sign; 0 leaves the image in faint grey.
    """
    height, width = image.shape[:2]
    grey = 255 - (255 - image.mean(axis=2, keepdims=True).repeat(3, axis=2)) * _CONTRAST
    largest = np.abs(values).max()
    strength = values / largest if largest > 0 else np.zeros_like(values)
    rows, columns = (np.arange(side) * values.shape[axis] // side for axis, side in enumerate((height, width)))
    field = strength[np.ix_(rows, columns)][:, :, None]
    ends = [255 * np.array(matplotlib.colors.to_rgb(colour)) for colour in (FOR, AGAINST)]
    colour = np.where(field >= 0, ends[0], ends[1])
    share = _STRONGEST * np.abs(field)
    mixed: np.ndarray = np.rint(grey * (1 - share) + colour * share).astype(np.uint8)
    return mixed


def draw_influence_maps(table: Path, tables: SampleTables, outputs: Sequence[Path], dpi: int) -> None:
    """Draw the maps of the first queries of a table of influence maps.

    Raises:
        UserError: the table is empty, or a table lacks an image that it names.
    """
    parts = read_parquet(table)
    asked = pd.unique(parts["query_id"])[:_QUERIES].tolist()
    parts = parts[parts["query_id"].isin(asked)]
    columns = ["id", "prompt", "image"]
    queries = read_samples(tables.queries, columns, asked).set_index("id")
    samples = read_samples(tables.train, columns, set(parts["sample_id"])).set_index("id")
    drawn = []
    for query in asked:
        own = parts[parts["query_id"] == query]
        pairs = [
            _pair(own[own["sample_id"] == sample], samples.loc[[sample]].reset_index())
            for sample in pd.unique(own["sample_id"])
        ]
        row = queries.loc[[query]].reset_index()
        drawn.append(MappedQuery(sample_pixels(row)[0], row["prompt"].iloc[0] or "", pairs))
    save_figure(plot_influence_maps(drawn), outputs, dpi)


def _pair(parts: pd.DataFrame, sample: pd.DataFrame) -> MappedPair:
    found = {str(kind): rows for kind, rows in parts.groupby("kind")}
    query_map = read_map(found["query_region"])
    score, caption = float(query_map.sum()), sample["prompt"].iloc[0] or ""
    sample_map = read_map(found["sample_region"]) if "sample_region" in found else None
    return MappedPair(sample_pixels(sample)[0], caption, score, query_map, sample_map)


def read_map(rows: pd.DataFrame) -> np.ndarray:
    """Return the fields of one map as an array ``[grid, grid]``."""
    places = rows["part"].str.split(",", expand=True).astype(int).to_numpy()
    values = np.zeros(places.max(axis=0) + 1)
    values[places[:, 0], places[:, 1]] = rows["score"]
    return values
