"""How scores of training images spread, by their relation to the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmin.figures.colours import NOISE, RELATION_COLOURS, RELATION_NAMES
from dmin.figures.panels import Panels
from dmin.figures.style import house_style
from dmin.runtime.errors import UserError

_BINS = 70
_FILL = 0.86
# From the bottom up.
_ORDER = ("other", "noise", "hit")
_UNKNOWN = ("noise", "unknown")


@house_style
def plot_score_distributions(
    scores: np.ndarray, query_subsets: Sequence[str] | None, train_subsets: Sequence[str], title: str
) -> Figure:
    """Draw, per query subset, the scores of training images of that subset, of other subsets and of noised copies.

    Args:
        scores: ``[queries, train]``, larger = proponent.
        query_subsets: subset of each row; None where they are unknown, for all queries together and no other groups
            than noised copies and the rest.
        train_subsets: subset of each column; ``noise`` marks noised copies.
        title: heading of the figure.

    Raises:
        UserError: there are no scores, a score is not finite or the names do not match the shape.
    """
    scores = np.asarray(scores)
    if scores.size == 0:
        raise UserError("The score matrix is empty, so there is nothing to plot; generate at least one query.")
    rows = len(scores) if query_subsets is None else len(query_subsets)
    if scores.shape != (rows, len(train_subsets)):
        raise UserError(
            f"The score matrix has shape {scores.shape} but scores.json names {rows} queries and "
            f"{len(train_subsets)} training samples; make both again."
        )
    if not np.isfinite(scores).all():
        raise UserError(
            "The score matrix holds values that are not finite; find the method and setting that made them."
        )
    train = np.asarray(train_subsets)
    groups: list[tuple[str, np.ndarray, Mapping[str, np.ndarray]]]
    if query_subsets is None:
        whole = {"noise": train == NOISE, "unknown": train != NOISE}
        groups = [("all queries", np.full(rows, True), whole)]
    else:
        queries = np.asarray(query_subsets)
        groups = [(f"queries of {name}", queries == name, _related(train, name)) for name in sorted({*query_subsets})]
    low, high = _range(scores)
    edges = np.linspace(low, high, _BINS + 1)
    panels = Panels(len(groups), 3, 2.75, 1.75)
    kinds = [kind for kind in (_UNKNOWN if query_subsets is None else _ORDER) if kind != "noise" or NOISE in train]
    for panel, (heading, asked, columns) in zip(panels.axes, groups, strict=True):
        for base, kind in enumerate(kinds):
            values = scores[asked][:, columns[kind]].ravel()
            if values.size:
                _draw_histogram(panel, values, edges, float(base), RELATION_COLOURS[kind])
        panel.set_title(heading)
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


def _related(train: np.ndarray, subset: str) -> dict[str, np.ndarray]:
    """Return which training samples are of a subset, noised copies, or neither."""
    return {"hit": train == subset, "noise": train == NOISE, "other": (train != subset) & (train != NOISE)}


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
