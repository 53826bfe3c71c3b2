"""No figure cuts its texts or lays them on each other, and each shows what a reader asks it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from drawn_text import faults
from figure_tables import FIGURES, agreement_table, detection_table, gallery, retrieval_table, texts
from matplotlib.figure import Figure

from dmin.catalogue.methods import METHODS
from dmin.figures.agreement import plot_agreement
from dmin.figures.detection import plot_detection_by_k, plot_detection_by_v
from dmin.figures.lds_bands import plot_lds_bands
from dmin.figures.lds_deletion import plot_lds_deletion
from dmin.figures.main_table import plot_main_table, plot_subset_table
from dmin.figures.retrieval import plot_retrieval
from dmin.figures.training import plot_training


def every_method() -> list[tuple[str, object]]:
    widths = {"gradients": ("4096", "full"), "checkpoints": ("4096",)}
    return [(name, v) for name, entry in METHODS.items() for v in widths.get(entry.inputs, ("",))]


def many_subsets() -> pd.DataFrame:
    names = ["mean", *(f"subset {number}" for number in range(4)), "a subset of a name as long as it gets " * 2]
    return detection_table(every_method(), names)


def lds_table(methods: list[str], bands: int = 4) -> pd.DataFrame:
    rows = [(name, "4096", 0.01 * place, band) for place, name in enumerate(methods) for band in range(bands)]
    found = pd.DataFrame(rows, columns=["method", "v", "lds", "low_timestep"])
    facts = {"query_set": "held_out", "bank": "digits", "high_timestep": found["low_timestep"] + 1, "ceiling": 0.5}
    return found.assign(low=found["lds"] - 0.1, high=found["lds"] + 0.1, **facts)


def deletion_figure(methods: list[str]) -> Figure:
    lds = lds_table(methods, 1)
    rises = dict.fromkeys(("over_random", "over_random_low", "over_random_high"), lds["lds"])
    return plot_lds_deletion(lds, lds.drop(columns=["lds", "low", "high"]).assign(k=48, **rises))


# Tables that have more, or longer names, than figures are usually drawn from.
CROWDED: dict[str, Callable[[], Figure]] = {
    "by_k": lambda: plot_detection_by_k(many_subsets()),
    "by_v": lambda: plot_detection_by_v(many_subsets()),
    "main table": lambda: plot_main_table(many_subsets()),
    "subset table": lambda: plot_subset_table(many_subsets()),
    "agreement": lambda: plot_agreement(agreement_table(list(METHODS))),
    "agreement, opposed": lambda: plot_agreement(agreement_table().replace({"spearman": {0.5: -0.4}})),
    "LDS by band": lambda: plot_lds_bands(lds_table(list(METHODS))),
    "LDS and deletion": lambda: deletion_figure(list(METHODS)),
    "LDS and deletion of three": lambda: deletion_figure(["dmin", "dmin_scaled", "pixels_centred"]),
    "training": lambda: plot_training(long_curve()),
    "retrieval": lambda: plot_retrieval(retrieval_table([str(2**power) for power in range(8, 13)])),
}


@pytest.mark.parametrize("name", [*FIGURES, *(f"crowded: {name}" for name in CROWDED)])
def test_no_text_is_cut_or_lies_on_another(name: str) -> None:
    draw = CROWDED[name.removeprefix("crowded: ")] if name.startswith("crowded") else FIGURES[name]
    assert faults(draw()) == []


def test_text_that_is_cut_or_overlaps_is_found() -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "left")
    figure.text(0.15, 0.5, "on it")
    figure.text(0.9, 0.2, "beyond the edge")
    assert faults(figure) == ["'beyond the edge' is cut", "'left' overlaps 'on it'"]


def long_curve() -> pd.DataFrame:
    """Return a loss that falls steeply at first and is noisy after."""
    steps = np.arange(1, 301)
    noise = np.random.default_rng(0).normal(0, 0.01, len(steps))
    return pd.DataFrame({"step": 10 * steps, "loss": 0.06 + 0.9 * np.exp(-steps / 5) + noise})


def test_scale_of_training_leaves_out_where_it_begins() -> None:
    (panel,) = plot_training(long_curve()).axes
    assert panel.get_ylim()[1] < 0.2 < long_curve()["loss"].max()
    assert "begins at 0.79" in panel.get_title(loc="right") and len(panel.lines) == 2


def test_one_width_of_each_method_is_drawn_against_k() -> None:
    pairs = [("dmin", v) for v in ("256", "4096", "65536", "full")]
    figure = plot_detection_by_k(detection_table(pairs))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["DMin, v = 4,096", "Chance"]


def test_agreement_is_told_apart_on_its_own_scale() -> None:
    panel, bar = plot_agreement(agreement_table().replace({"spearman": {0.5: 0.3}})).axes
    assert bar.get_ylim() == pytest.approx((0, 0.3)), "what is between 0 and .3 has all colours"
    assert "1.00" not in [text.get_text() for text in panel.texts], "a method agrees with itself"
    opposed = plot_agreement(agreement_table().replace({"spearman": {0.5: -0.4}})).axes[1]
    assert opposed.get_ylim() == pytest.approx((-0.4, 0.4))


def test_main_table_and_subsets_stand_apart() -> None:
    main, by_subset = (texts(plot(many_subsets())) for plot in (plot_main_table, plot_subset_table))
    assert "subset 0" not in main and {"subset 0", "subset 3"} <= set(by_subset)
    assert plot_subset_table(many_subsets()).get_figwidth() < 11, "a page is no wider"


def test_least_influential_images_are_no_hits() -> None:
    shown = texts(gallery())
    assert shown.count("cats (hit)") == 1 and "cats" in shown
