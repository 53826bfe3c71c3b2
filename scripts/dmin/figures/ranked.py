"""Figures of scored images, from files to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.data.samples import read_samples, sample_images, sample_pixels
from dmin.figures.contact_sheet import plot_contact_sheet
from dmin.figures.gallery import plot_gallery
from dmin.figures.gallery_entry import GalleryEntry, GalleryItem
from dmin.figures.method_gallery import plot_method_gallery
from dmin.figures.methods import method_style
from dmin.figures.scores import plot_score_distributions
from dmin.figures.style import save_figure
from dmin.figures.tables import width_label
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.settings.config import Gallery

# Ids of training samples, each with its score.
Scores = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class MethodScores:
    """The score file of a method at a width ``v``, its description beside it."""

    path: Path
    method: str
    v: str

    @property
    def title(self) -> str:
        """The method and the width as figures name them."""
        return f"{method_style(self.method).label}, {width_label(self.v)}"


def draw_score_distributions(
    scores: MethodScores, tables: SampleTables, subsets_known: bool, outputs: Sequence[Path], dpi: int
) -> None:
    """Draw the scores of a method by the subsets of query, where they are known, and training sample."""
    matrix, subsets = ScoreMatrix.read(scores.path), tables.subsets()
    asked, train = ([subsets[name] for name in side] for side in (matrix.queries, matrix.train))
    figure = plot_score_distributions(matrix.values, asked if subsets_known else None, train, scores.title)
    save_figure(figure, outputs, dpi)


def draw_contact_sheet(queries: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Draw all generated images by subset."""
    frame = read_samples(queries)
    figure = plot_contact_sheet(sample_images(frame), frame["prompt"].tolist(), frame["subset"].tolist())
    save_figure(figure, outputs, dpi)


def draw_gallery(
    scores: MethodScores, tables: SampleTables, subset: str | None, gallery: Gallery, outputs: Sequence[Path], dpi: int
) -> None:
    """Draw the first queries of a subset, or of all where it is None, beside their most and least influential training
    images."""
    matrix = ScoreMatrix.read(scores.path)
    asked = read_samples(tables.queries).set_index("id").loc[matrix.queries]
    shown = []
    chosen = range(len(asked)) if subset is None else np.flatnonzero(asked["subset"].to_numpy() == subset).tolist()
    for row in chosen[: gallery["queries"]]:
        order = np.argsort(-matrix.values[row], kind="stable")
        ends = order[: gallery["most"]], order[::-1][: gallery["least"]]
        shown.append((row, [[(matrix.train[place], matrix.values[row, place]) for place in end] for end in ends]))
    train = _shown(tables.train, [pair for _, ends in shown for end in ends for pair in end])
    entries = [
        GalleryEntry(
            image=sample_pixels(asked.iloc[[row]])[0],
            prompt=asked["prompt"].iloc[row],
            most=_items(train, most),
            least=_items(train, least),
            subset=subset,
        )
        for row, (most, least) in shown
    ]
    title = scores.title if subset is None else f"{subset}: {scores.title}"
    save_figure(plot_gallery(entries, title), outputs, dpi)


def draw_method_gallery(
    tops: Mapping[str, Path], tables: SampleTables, subset: str | None, most: int, outputs: Sequence[Path], dpi: int
) -> None:
    """Draw the first query of a subset, or of all where it is None, beside the ``most`` training images that every
    method ranks first.

    Args:
        tops: the ranked lists of each method.

    Raises:
        UserError: the subset has no query.
    """
    asked = read_samples(tables.queries)
    asked = asked if subset is None else asked[asked["subset"] == subset]
    if asked.empty:
        raise UserError(f"Subset '{subset}' has no query to show; generate at least one.")
    query = asked.iloc[0]
    pairs: dict[str, Scores] = {}
    for method, path in tops.items():
        top = read_parquet(path, filters=[("query_id", "==", query["id"]), ("rank", "<=", most)])
        top = top.sort_values("rank")
        pairs[method] = list(zip(top["sample_id"], top["score"], strict=True))
    train = _shown(tables.train, [pair for chosen in pairs.values() for pair in chosen])
    ranked = {method: _items(train, chosen) for method, chosen in pairs.items()}
    title = f"{'First query' if subset is None else subset}: what each method ranks first"
    figure = plot_method_gallery(sample_pixels(asked.iloc[:1])[0], query["prompt"], subset, ranked, title)
    save_figure(figure, outputs, dpi)


def _shown(samples: Path, pairs: Scores) -> pd.DataFrame:
    """Read the training images that a figure shows, by id, and no others."""
    columns = ["id", "subset", "prompt", "origin", "image"]
    return read_samples(samples, columns, {name for name, _ in pairs}).set_index("id")


def _items(train: pd.DataFrame, pairs: Scores) -> list[GalleryItem]:
    if not pairs:
        return []
    rows = train.loc[[name for name, _ in pairs]].reset_index()
    return [
        GalleryItem(image=pixels, caption=prompt, subset=subset, score=float(score), file=origin)
        for pixels, prompt, subset, origin, (_, score) in zip(
            sample_images(rows), rows["prompt"], rows["subset"], rows["origin"], pairs, strict=True
        )
    ]
