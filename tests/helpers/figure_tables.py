"""Figures drawn from small tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from dmin.figures.agreement import plot_agreement
from dmin.figures.contact_sheet import plot_contact_sheet
from dmin.figures.detection import plot_detection_by_k, plot_detection_by_v
from dmin.figures.gallery import GalleryEntry, GalleryItem, plot_gallery
from dmin.figures.main_table import plot_main_table, plot_subset_table
from dmin.figures.method_gallery import plot_method_gallery
from dmin.figures.norms import plot_gradient_norms
from dmin.figures.retrieval import plot_retrieval
from dmin.figures.scores import plot_score_distributions
from dmin.figures.training import plot_training


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


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
