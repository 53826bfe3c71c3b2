"""Figures of the ablations render from small tables, the same bytes each time, and refuse what they cannot draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from dmin.errors import UserError
from dmin.evaluation.hubness import MEASURES
from dmin.figures.hubness import plot_hubness
from dmin.figures.style import save_figure


def hubness_table(widths: tuple[str, ...] = ("64", "full")) -> pd.DataFrame:
    rows = [
        (method, v, k, measure, 0.5, 0.4, 0.6)
        for method, methods_widths in (("dmin", widths), ("random", ("",)))
        for v in methods_widths
        for k in (5, 10)
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=["method", "v", "k", "measure", "value", "low", "high"])


FIGURES: dict[str, Callable[[], Figure]] = {
    "hubness": lambda: plot_hubness(hubness_table()),
    "hubness, one width": lambda: plot_hubness(hubness_table(("64",))),
    "hubness, no width": lambda: plot_hubness(hubness_table(())),
}


@pytest.mark.parametrize("name", FIGURES)
def test_equal_input_gives_equal_files(name: str, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        save_figure(FIGURES[name](), [tmp_path / folder / "figure.svg", tmp_path / folder / "figure.png"])
    for suffix in ("svg", "png"):
        first, second = (tmp_path / folder / f"figure.{suffix}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert "<text" in first.with_suffix(".svg").read_text()


def test_hubness_is_drawn_at_the_largest_k() -> None:
    figure = plot_hubness(hubness_table())
    assert {panel.get_xlabel() for panel in figure.axes} == {"k = 10"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["DMin", "Random"]


EMPTY: dict[str, Callable[[], Figure]] = {
    "hubness": lambda: plot_hubness(hubness_table()[:0]),
    "hubness, missing column": lambda: plot_hubness(hubness_table().drop(columns="low")),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_draw_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError) as caught:
        EMPTY[name]()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
