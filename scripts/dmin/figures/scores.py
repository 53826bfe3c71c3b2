"""How scores of training images spread, by their relation to the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.panels import Panels
from dmin.figures.style import NOISE, RELATION_COLOURS, RELATION_NAMES, house_style
from dmin.runtime.errors import UserError

_BINS = 70
_FILL = 0.86
# From the bottom up.
_ORDER = ("other", "noise", "hit")


@house_style
def plot_score_distributions(
    scores: np.ndarray, query_subsets: Sequence[str], train_subsets: Sequence[str], title: str
) -> Figure:
    """Draw, per query subset, the scores of training images of that subset, of other subsets and of noised copies.

    Args:
        scores: ``[queries, train]``, larger = proponent.
        query_subsets: subset of each row.
        train_subsets: subset of each column; ``noise`` marks noised copies.
        title: heading of the figure.

    Raises:
        UserError: there are no scores, a score is not finite or the names do not match the shape.
    """
    scores = np.asarray(scores)
    if scores.size == 0:
        raise UserError("The score matrix is empty, so there is nothing to plot; generate at least one query.")
    if scores.shape != (len(query_subsets), len(train_subsets)):
        raise UserError(
            f"The score matrix has shape {scores.shape} but scores.json names {len(query_subsets)} queries and "
            f"{len(train_subsets)} training samples; make both again."
        )
    if not np.isfinite(scores).all():
        raise UserError(
            "The score matrix holds values that are not finite; find the method and setting that made them."
        )
    queries = np.asarray(query_subsets)
    train = np.asarray(train_subsets)
    subsets = sorted({*query_subsets})
    low, high = _range(scores)
    edges = np.linspace(low, high, _BINS + 1)
    panels = Panels(len(subsets), 3, 2.75, 1.75)
    kinds = [kind for kind in _ORDER if kind != "noise" or NOISE in train]
    for panel, subset in zip(panels.axes, subsets, strict=True):
        rows = scores[queries == subset]
        columns = {"hit": train == subset, "noise": train == NOISE, "other": (train != subset) & (train != NOISE)}
        for base, kind in enumerate(kinds):
            values = rows[:, columns[kind]].ravel()
            if values.size:
                _draw_histogram(panel, values, edges, float(base), RELATION_COLOURS[kind])
        panel.set_title(f"queries of {subset}")
        panel.set_xlim(low, high)
        panel.set_ylim(0, len(kinds))
        panel.set_yticks(range(len(kinds)), [RELATION_NAMES[kind] for kind in kinds], va="bottom")
        panel.spines["left"].set_visible(False)
        panel.grid(visible=True, axis="x")
    figure = panels.figure
    figure.set_figheight(figure.get_figheight() + 0.3)
    figure.suptitle(title, x=0.008, ha="left")
    panels.label(x="Influence score (larger: proponent)")
    return figure


def _range(scores: np.ndarray) -> tuple[float, float]:
    """Cover all but the outermost 0.05 % on each side, so that a lone extreme score cannot flatten every panel."""
    low, high = (float(value) for value in np.quantile(scores, [0.0005, 0.9995]))
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_histogram(panel: Axes, values: np.ndarray, edges: np.ndarray, base: float, colour: str) -> None:
    """Draw a histogram on the line ``base`` with its median as an upright stroke."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    # Every group is scaled to the same height: groups differ in size a hundredfold, and only their place matters.
    heights = base + _FILL * counts / counts.max()
    panel.stairs(heights, edges, baseline=base, fill=True, color=colour, alpha=0.3, linewidth=0)
    panel.stairs(heights, edges, baseline=base, color=colour, linewidth=1.1)
    median = float(np.clip(np.median(values), edges[0], edges[-1]))
    panel.plot([median, median], [base, base + _FILL], color=colour, linewidth=1.6)
