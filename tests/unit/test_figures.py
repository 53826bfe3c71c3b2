"""Figures render from small tables, equal input gives equal bytes, and bad input is one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_tables import (
    FIGURES,
    agreement_table,
    detection_table,
    method_gallery,
    norm_table,
    picture,
    retrieval_table,
    texts,
    training_table,
)
from matplotlib.figure import Figure
from PIL import Image

from dmin.catalogue.methods import METHODS
from dmin.figures.agreement import plot_agreement
from dmin.figures.canvas import quote, wrap_caption
from dmin.figures.colours import relation, subset_colours
from dmin.figures.contact_sheet import plot_contact_sheet
from dmin.figures.detection import plot_detection_by_k, plot_detection_by_v
from dmin.figures.detection_options import DetectionOptions
from dmin.figures.gallery import GalleryEntry, GalleryItem, plot_gallery
from dmin.figures.main_table import encoder_labels, plot_main_table, plot_subset_table
from dmin.figures.method_gallery import plot_method_gallery
from dmin.figures.methods import method_style, order_methods
from dmin.figures.norms import plot_gradient_norms
from dmin.figures.retrieval import plot_retrieval
from dmin.figures.scores import plot_score_distributions
from dmin.figures.style import save_figure
from dmin.figures.tables import width_text
from dmin.figures.training import plot_training
from dmin.runtime.errors import UserError


@pytest.mark.parametrize(
    ("encoder", "label"),
    [("efficientnet", "EfficientNet-Lite0 (not CLIP)"), ("a/b", "CLIP image cosine")],
)
def test_main_table_names_an_encoder_that_is_not_clip(encoder: str, label: str, tmp_path: Path) -> None:
    figure = plot_main_table(detection_table([("clip", ""), ("random", "")]), encoder_labels(encoder))
    save_figure(figure, [tmp_path / "a.svg"], 72)
    assert label in (tmp_path / "a.svg").read_text()


def test_main_table_has_a_kernel_method_at_the_lambda_chosen_beside_the_default(tmp_path: Path) -> None:
    table = detection_table([("trak", "64"), ("dmin", "64")])
    chosen = table[table["method"] == "trak"].assign(backend="held_out")
    save_figure(plot_main_table(pd.concat([table, chosen])), [tmp_path / "a.svg"], 72)
    text = (tmp_path / "a.svg").read_text()
    assert "TRAK, lambda chosen" in text and "DMin, lambda chosen" not in text


@pytest.mark.parametrize("name", FIGURES)
def test_equal_input_gives_equal_files(name: str, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        save_figure(FIGURES[name](), [tmp_path / folder / "figure.svg", tmp_path / folder / "figure.png"])
    for suffix in ("svg", "png"):
        first, second = (tmp_path / folder / f"figure.{suffix}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert {path.name for path in first.parent.iterdir()} == {"figure.svg", "figure.png", ".sha256"}
    assert "<text" in first.with_suffix(".svg").read_text()


def test_files_carry_no_date_and_no_program(tmp_path: Path) -> None:
    save_figure(FIGURES["training"](), [tmp_path / "a.svg", tmp_path / "a.png"])
    text = (tmp_path / "a.svg").read_text()
    assert "dc:date" not in text and "Matplotlib" not in text
    with Image.open(tmp_path / "a.png") as image:
        assert "Software" not in image.info


def test_svg_text_falls_back_to_any_sans_serif(tmp_path: Path) -> None:
    save_figure(FIGURES["training"](), [tmp_path / "a.svg"])
    assert "sans-serif" in (tmp_path / "a.svg").read_text()


EMPTY: dict[str, Callable[[], Figure]] = {
    "by_k": lambda: plot_detection_by_k(detection_table()[:0]),
    "by_v": lambda: plot_detection_by_v(detection_table()[:0]),
    "by_v without mean": lambda: plot_detection_by_v(detection_table(subsets=["cats"])),
    "wrong backend": lambda: plot_detection_by_k(detection_table(), DetectionOptions(backend="hnsw")),
    "missing column": lambda: plot_detection_by_k(detection_table().drop(columns="low")),
    "scores": lambda: plot_score_distributions(np.zeros((0, 3)), [], ["a", "b", "c"], ""),
    "scores, other shape": lambda: plot_score_distributions(np.zeros((1, 2)), ["a"], ["a"], ""),
    "scores, not finite": lambda: plot_score_distributions(np.full((1, 1), np.nan), ["a"], ["a"], ""),
    "norms": lambda: plot_gradient_norms(norm_table()[:0]),
    "norms, all zero": lambda: plot_gradient_norms(norm_table().assign(norm=0.0)),
    "training": lambda: plot_training(training_table()[:0]),
    "retrieval": lambda: plot_retrieval(retrieval_table()[:0]),
    "gallery": lambda: plot_gallery([], ""),
    "main table": lambda: plot_main_table(detection_table()[:0]),
    "main table without mean": lambda: plot_main_table(detection_table(subsets=["cats"])),
    "subset table without subsets": lambda: plot_subset_table(detection_table(subsets=["mean"])),
    "agreement": lambda: plot_agreement(agreement_table()[:0]),
    "methods": lambda: method_gallery([]),
    "contact sheet": lambda: plot_contact_sheet([], [], []),
    "contact sheet, other length": lambda: plot_contact_sheet([picture(0)], [], ["x"]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_draw_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError) as caught:
        EMPTY[name]()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message


def test_options_choose_methods_and_widths() -> None:
    options = DetectionOptions(methods=["dmin", "random"], widths=["full"])
    figure = plot_detection_by_k(detection_table(), options)
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels == {"DMin", "Random", "Chance"}


def test_queries_of_unknown_subset_get_files_and_no_hits() -> None:
    assert relation(None, "cats") == "unknown" and relation(None, "noise") == "noise"
    items = [GalleryItem(picture(n), "a", subset, 0.5, f"{n}.png") for n, subset in enumerate(("cats", "dogs"))]
    shown = texts(plot_gallery([GalleryEntry(picture(9), "a cat", items, [], None)], "DMin"))
    assert {"0.png", "1.png"} <= set(shown) and not any("hit" in text or "subset" in text for text in shown)
    methods = plot_method_gallery(picture(5), "a cat", None, {"dmin": items}, "DMin")
    assert not any("hit" in text for text in texts(methods))
    scores = np.random.default_rng(0).normal(size=(2, 3))
    panel = plot_score_distributions(scores, None, ["cats", "dogs", "noise"], "DMin").axes[0]
    assert panel.get_title(loc="left") == "all queries"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["noised copy", "training images"]


def test_a_noised_copy_is_never_a_hit() -> None:
    assert relation("cats", "cats") == "hit"
    assert relation("cats", "dogs") == "other"
    assert relation("cats", "noise") == relation("noise", "noise") == "noise"


def test_widths_read_the_same_from_any_csv() -> None:
    assert [width_text(value) for value in (256, 256.0, "256", "256.0", "full", None, float("nan"), pd.NA, "")] == [
        *["256"] * 4,
        "full",
        *[""] * 4,
    ]


def test_colours_are_distinct_and_stable() -> None:
    colours = subset_colours(["dogs", "cats", "noise", "mean"])
    assert colours == subset_colours(["cats", "dogs"])
    assert len({*colours.values()}) == len(colours)
    assert method_style("new_method") == method_style("new_method")
    assert method_style("new_method").label == "new method"


def test_methods_look_and_stand_as_the_catalogue_says() -> None:
    styles = [method_style(name) for name in METHODS]
    assert [(style.label, style.colour, style.marker) for style in styles] == [
        (entry.label, *entry.look[:2]) for entry in METHODS.values() if entry.look
    ]
    # Not by dashes alone: some figures draw points without lines.
    assert len({(style.colour, style.marker) for style in styles}) == len(styles), "two look alike"
    assert order_methods(["new", "trak", "random", "dmin_kernel", "dtrak", "none", "dmin"]) == [
        "dmin", "dmin_kernel", "random", "dtrak", "trak", "new", "none",
    ]  # fmt: skip


def test_long_captions_are_cut_with_an_ellipsis() -> None:
    text = wrap_caption("word " * 50, 1.0, 7, 2)
    assert len(text.splitlines()) == 2 and text.endswith("…")
    assert wrap_caption("short", 1.0, 7, 2) == "short"
    assert (quote("a cat"), quote("")) == ("“a cat”", "")


def test_global_matplotlib_settings_stay_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    FIGURES["by_k"]()
    assert dict(matplotlib.rcParams) == before


def test_figures_start_without_torch() -> None:
    modules = [f"dmin.figures.{path.stem}" for path in Path(sys.modules["dmin.figures"].__path__[0]).glob("[a-z]*.py")]
    code = f"import sys; {'; '.join(f'import {module}' for module in modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
