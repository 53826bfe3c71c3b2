"""Figures render from small tables, equal input gives equal bytes, and bad input is one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_text import faults
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dmin.catalogue.methods import METHODS
from dmin.figures.agreement import plot_agreement
from dmin.figures.canvas import quote, wrap_caption
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
from dmin.figures.style import relation, save_figure, subset_colours
from dmin.figures.tables import width_text
from dmin.figures.training import plot_training
from dmin.runtime.errors import UserError


def detection_table(
    pairs: Sequence[tuple[str, object]] = (("dmin", "256"), ("dmin", "full"), ("dmin_no_norm", "256"), ("random", "")),
    subsets: Sequence[str] = ("cats", "dogs", "mean"),
) -> pd.DataFrame:
    rows = [
        {
            "method": method,
            "v": v,
            "backend": "exact",
            "subset": subset,
            "k": k,
            "rate": 0.8 - k / 500,
            "low": 0.6,
            "high": 0.9,
            "chance": 0.4,
            "queries": 5,
        }
        for method, v in pairs
        for subset in subsets
        for k in (5, 10, 50)
    ]
    return pd.DataFrame(rows)


def norm_table() -> pd.DataFrame:
    rows = [
        (split, f"{subset}/{number}", subset, timestep, 1.0 / (1 + timestep + number))
        for split, subsets in (("train", ("cats", "noise")), ("queries", ("cats",)))
        for subset in subsets
        for number in range(3)
        for timestep in (1, 100, 900)
    ]
    return pd.DataFrame(rows, columns=["split", "sample_id", "subset", "timestep", "norm"])


def retrieval_table(widths: Sequence[str] = ("256", "1024")) -> pd.DataFrame:
    backends = {"exact": (1, 3, 5, 0, 0), "cascade": (1, 2, 3, 2, 900), "hnsw": (0.99, 0.1, 0.2, 1, 1000)}
    rows = [("dmin", v, name, k, *values) for v in widths for k in (5, 10) for name, values in backends.items()]
    columns = ["method", "v", "backend", "k", "recall", "p50_ms", "p95_ms", "build_seconds", "index_bytes"]
    return pd.DataFrame(rows, columns=columns)


def training_table(steps: int = 40) -> pd.DataFrame:
    return pd.DataFrame({"step": range(1, steps + 1), "loss": np.linspace(1.0, 0.1, steps)})


def picture(seed: int, size: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), dtype=np.uint8)


def gallery(size: int = 8, least: int = 2) -> Figure:
    items = [
        GalleryItem(picture(number, size), "a $price$ caption that is much too long for one line", subset, 0.3 - number)
        for number, subset in enumerate(("cats", "dogs", "noise"))
    ]
    return plot_gallery([GalleryEntry(picture(9, size), "a cat", items, items[:least], "cats")], "cats: DMin")


def scores_figure(train_subsets: Sequence[str] = ("cats", "dogs", "noise", "cats")) -> Figure:
    scores = np.random.default_rng(0).normal(size=(4, len(train_subsets))).astype(np.float32)
    return plot_score_distributions(scores, ["cats", "dogs"] * 2, train_subsets, "DMin")


def method_gallery(methods: Sequence[str] = ("dmin", "random")) -> Figure:
    items = [GalleryItem(picture(n), "caption", subset, 0.5) for n, subset in enumerate(("cats", "dogs", "noise"))]
    return plot_method_gallery(picture(5), "a cat", "cats", dict.fromkeys(methods, items), "cats")


def agreement_table(methods: Sequence[str] = ("dmin", "trak", "random")) -> pd.DataFrame:
    rows = [
        (method, other, 1.0 if method == other else -0.001 if "random" in (method, other) else 0.5)
        for method in methods
        for other in methods
    ]
    return pd.DataFrame(rows, columns=["method", "other", "spearman"])


FIGURES: dict[str, Callable[[], Figure]] = {
    "by_k": lambda: plot_detection_by_k(detection_table()),
    "by_k, one line": lambda: plot_detection_by_k(detection_table([("dmin", 4096.0)], ["cats"])),
    "by_v": lambda: plot_detection_by_v(detection_table()),
    "by_v, one width": lambda: plot_detection_by_v(detection_table([("dmin", "4096")])),
    "by_v, no width": lambda: plot_detection_by_v(detection_table([("random", np.nan)])),
    "by_v, only uncompressed": lambda: plot_detection_by_v(detection_table([("dmin", "full")])),
    "unknown method": lambda: plot_detection_by_k(detection_table([("my_method", "256")])),
    "scores": scores_figure,
    "scores, no noise": lambda: scores_figure(("cats", "dogs", "cats", "dogs")),
    "scores, one subset": lambda: scores_figure(("cats", "cats", "cats", "cats")),
    "norms": lambda: plot_gradient_norms(norm_table()),
    "norms, one split": lambda: plot_gradient_norms(norm_table().query("split == 'queries'")),
    "training": lambda: plot_training(training_table()),
    "training, one step": lambda: plot_training(training_table(1)),
    "retrieval": lambda: plot_retrieval(retrieval_table()),
    "retrieval, one width": lambda: plot_retrieval(retrieval_table(["256"])),
    "gallery": gallery,
    "gallery, large images, no least": lambda: gallery(300, 0),
    "contact sheet": lambda: plot_contact_sheet([picture(n) for n in range(3)], ["a", "b", "c" * 90], ["x", "x", "y"]),
    "main table": lambda: plot_main_table(detection_table()),
    "subset table": lambda: plot_subset_table(detection_table()),
    "main table, no width": lambda: plot_main_table(detection_table([("random", np.nan)])),
    "agreement": lambda: plot_agreement(agreement_table()),
    "agreement, one method": lambda: plot_agreement(agreement_table(["dmin"])),
    "agreement, nothing ordered": lambda: plot_agreement(agreement_table().assign(spearman=np.nan)),
    "methods": method_gallery,
    "contact sheet, grey": lambda: plot_contact_sheet([picture(0, 8, 1)], ["a"], ["x"]),
}


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


def every_method() -> list[tuple[str, object]]:
    widths = {"gradients": ("4096", "full"), "checkpoints": ("4096",)}
    return [(name, v) for name, entry in METHODS.items() for v in widths.get(entry.inputs, ("",))]


def many_subsets() -> pd.DataFrame:
    names = ["mean", *(f"subset {number}" for number in range(4)), "a subset of a name as long as it gets " * 2]
    return detection_table(every_method(), names)


# Tables that have more, or longer names, than figures are usually drawn from.
CROWDED: dict[str, Callable[[], Figure]] = {
    "by_k": lambda: plot_detection_by_k(many_subsets()),
    "by_v": lambda: plot_detection_by_v(many_subsets()),
    "main table": lambda: plot_main_table(many_subsets()),
    "subset table": lambda: plot_subset_table(many_subsets()),
    "agreement": lambda: plot_agreement(agreement_table(list(METHODS))),
    "agreement, opposed": lambda: plot_agreement(agreement_table().replace({"spearman": {0.5: -0.4}})),
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
    assert "begins at 0.8" in panel.get_title(loc="right") and len(panel.lines) == 2


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


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


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
    assert len({(style.colour, style.marker, style.dashes) for style in styles}) == len(styles), "two look alike"
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
