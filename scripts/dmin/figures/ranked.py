"""Figures of scored images, from files to files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.data.samples import read_samples, sample_pixels
from dmin.figures.contact_sheet import plot_contact_sheet
from dmin.figures.gallery import plot_gallery
from dmin.figures.gallery_entry import GalleryEntry, GalleryItem
from dmin.figures.method_gallery import plot_method_gallery
from dmin.figures.methods import method_style
from dmin.figures.scores import plot_score_distributions
from dmin.figures.style import save_figure
from dmin.figures.tables import width_label
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import load_array


def draw_score_distributions(
    scores: Path,
    description: Path,
    samples: Path,
    queries: Path,
    method: str,
    v: str,
    outputs: Sequence[Path],
    dpi: int,
) -> None:
    """Draw the scores of a method by the subsets of query and training sample."""
    facts = json.loads(description.read_text())
    columns = ["id", "subset"]
    asked = read_samples(queries, columns).set_index("id")["subset"].loc[facts["queries"]]
    train = read_samples(samples, columns).set_index("id")["subset"].loc[facts["train"]]
    figure = plot_score_distributions(
        load_array(scores, "scores", "Scores"), asked.tolist(), train.tolist(), _title(method, v)
    )
    save_figure(figure, outputs, dpi)


def draw_contact_sheet(queries: Path, outputs: Sequence[Path], dpi: int) -> None:
    """Draw all generated images by subset."""
    frame = read_samples(queries)
    figure = plot_contact_sheet(list(sample_pixels(frame)), frame["prompt"].tolist(), frame["subset"].tolist())
    save_figure(figure, outputs, dpi)


def draw_gallery(
    scores: Path,
    description: Path,
    samples: Path,
    queries: Path,
    subset: str,
    method: str,
    v: str,
    settings: Mapping[str, int],
    outputs: Sequence[Path],
    dpi: int,
) -> None:
    """Draw the first queries of a subset beside their most and least influential training images.

    Args:
        settings: ``queries`` (rows), ``most`` and ``least`` (training images per query).
    """
    facts = json.loads(description.read_text())
    values = load_array(scores, "scores", "Scores")
    train = read_samples(samples).set_index("id").loc[facts["train"]]
    asked = read_samples(queries).set_index("id").loc[facts["queries"]]
    entries = []
    for row in np.flatnonzero(asked["subset"].to_numpy() == subset)[: settings["queries"]]:
        order = np.argsort(-values[row], kind="stable")
        least = order[::-1][: settings["least"]]
        entries.append(
            GalleryEntry(
                image=sample_pixels(asked.iloc[[row]])[0],
                prompt=asked["prompt"].iloc[row],
                most=_items(train, values[row], order[: settings["most"]]),
                least=_items(train, values[row], least),
                subset=subset,
            )
        )
    save_figure(plot_gallery(entries, f"{subset}: {_title(method, v)}"), outputs, dpi)


def draw_method_gallery(
    tops: Mapping[str, Path],
    samples: Path,
    queries: Path,
    subset: str,
    most: int,
    outputs: Sequence[Path],
    dpi: int,
) -> None:
    """Draw the first query of a subset beside the ``most`` training images that every method ranks first.

    Args:
        tops: the ranked lists of each method.

    Raises:
        UserError: the subset has no query.
    """
    asked = read_samples(queries)
    asked = asked[asked["subset"] == subset]
    if asked.empty:
        raise UserError(f"Subset '{subset}' has no query to show; generate at least one.")
    query = asked.iloc[0]
    train = read_samples(samples).set_index("id")
    ranked = {}
    for method, path in tops.items():
        top = pd.read_parquet(path, filters=[("query_id", "==", query["id"]), ("rank", "<=", most)])
        top = top.sort_values("rank")
        scores = pd.Series(top["score"].to_numpy(), index=top["sample_id"])
        rows = train.loc[top["sample_id"]]
        ranked[method] = _items(rows, scores.to_numpy(), np.arange(len(rows)))
    title = f"{subset}: what each method ranks first"
    figure = plot_method_gallery(sample_pixels(asked.iloc[:1])[0], query["prompt"], subset, ranked, title)
    save_figure(figure, outputs, dpi)


def _title(method: str, v: str) -> str:
    return f"{method_style(method).label}, {width_label(v)}"


def _items(train: pd.DataFrame, scores: np.ndarray, chosen: np.ndarray) -> list[GalleryItem]:
    if not len(chosen):
        return []
    rows = train.iloc[chosen]
    return [
        GalleryItem(image=pixels, caption=prompt, subset=subset, score=float(score))
        for pixels, prompt, subset, score in zip(
            sample_pixels(rows), rows["prompt"], rows["subset"], scores[chosen], strict=True
        )
    ]
