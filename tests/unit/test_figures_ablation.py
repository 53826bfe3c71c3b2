"""Figures of the ablations render from small tables, the same bytes each time, and refuse what they cannot draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from dmin.evaluation.hubness import MEASURES
from dmin.figures.budget import plot_budget
from dmin.figures.compression import plot_compression
from dmin.figures.hnsw import plot_hnsw
from dmin.figures.hubness import plot_hubness
from dmin.figures.style import save_figure
from dmin.runtime.errors import UserError


def hubness_table(widths: tuple[str, ...] = ("64", "full"), train: int = 600) -> pd.DataFrame:
    rows = [
        (method, v, k, measure, 0.5, 0.4, 0.6, train)
        for method, methods_widths in (("dmin", widths), ("random", ("",)))
        for v in methods_widths
        for k in (5, 10)
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=["method", "v", "k", "measure", "value", "low", "high", "train"])


def hnsw_table(links: tuple[int, ...] = (4, 16), efs: tuple[int, ...] = (20, 200)) -> pd.DataFrame:
    rows = [
        (m, efc, ef, subset, 0.7, 0.9 + m / 1000, m / 4, 1000 * m, ef / 100, ef / 50)
        for m in links
        for efc in (50, 100, 200)
        for ef in efs
        for subset in ("cats", "mean")
    ]
    columns = ["M", "ef_construction", "ef", "subset", "rate", "recall"]
    return pd.DataFrame(rows, columns=[*columns, "build_seconds", "index_bytes", "p50_ms", "p95_ms"])


def compression_table(storages: tuple[str, ...] = ("fp16", "fp32", "int8")) -> pd.DataFrame:
    rows = [
        ("dmin", v, storage, k, 0.7, 0.6, 0.8, 0.9, 10 / v if storage != "fp32" else 0.0, 0.95, 4 * v + len(storage))
        for v in (64, 128)
        for storage in storages
        for k in (5, 10)
    ]
    columns = ["method", "v", "storage", "k", "rate", "low", "high", "recall", "rmse", "spearman", "bytes_per_sample"]
    table = pd.DataFrame(rows, columns=columns).assign(lds=0.2, lds_low=0.1, lds_high=0.3, lds_ceiling=0.6)
    return pd.concat([table, table.assign(method="grad_cos", lds=0.1)])


def lds_table() -> pd.DataFrame:
    return pd.DataFrame([(*pair, 0.1, 0.0, 0.2) for pair in METHODS], columns=["method", "v", "lds", "low", "high"])


METHODS = [("dmin", "64"), ("dmin", "full"), ("trak", "64"), ("random", None)]


def detection_table() -> pd.DataFrame:
    rows = [(*pair, "exact", subset, k, 0.5) for pair in METHODS for subset in ("cats", "mean") for k in (5, 10)]
    table = pd.DataFrame(rows, columns=["method", "v", "backend", "subset", "k", "rate"])
    return table.assign(low=0.4, high=0.6, chance=0.1)


def cost_table() -> pd.DataFrame:
    sizes = {"64": 300.0, "full": 5000.0, None: 0.0}
    rows = [("uncompressed", "full", None, 9000.0), *((method, v, "exact", sizes[v]) for method, v in METHODS)]
    return pd.DataFrame(rows, columns=["method", "v", "backend", "bytes_per_sample"])


def compression(**changes: pd.DataFrame) -> Figure:
    tables = {"table": compression_table(), "detection": detection_table(), "cost": cost_table(), **changes}
    return plot_compression(**tables)


def budget(**changes: pd.DataFrame) -> Figure:
    tables = {"compression": compression_table(), "detection": detection_table(), "cost": cost_table(), **changes}
    return plot_budget(**tables)


FIGURES: dict[str, Callable[[], Figure]] = {
    "hubness": lambda: plot_hubness(hubness_table()),
    "hubness, one width": lambda: plot_hubness(hubness_table(("64",))),
    "hubness, no width": lambda: plot_hubness(hubness_table(())),
    "hnsw": lambda: plot_hnsw(hnsw_table()),
    "hnsw, one setting": lambda: plot_hnsw(hnsw_table((4,), (20,))),
    "compression": compression,
    "budget": lambda: budget(lds=lds_table()),
    "budget, no bank": budget,
    "compression, without loss": lambda: compression(table=compression_table(("fp32",))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_equal_input_gives_equal_files(name: str, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        save_figure(FIGURES[name](), [tmp_path / folder / "figure.svg", tmp_path / folder / "figure.png"])
    for suffix in ("svg", "png"):
        first, second = (tmp_path / folder / f"figure.{suffix}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert "<text" in first.with_suffix(".svg").read_text()


@pytest.mark.parametrize(("train", "k"), [(600, 5), (1000, 10), (60, 5)])
def test_hubness_is_drawn_where_chance_makes_no_hubs(train: int, k: int) -> None:
    figure = plot_hubness(hubness_table(train=train))
    assert {panel.get_xlabel() for panel in figure.axes} == {f"k = {k}"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["DMin", "Random"]


def test_heat_maps_hold_a_number_per_setting() -> None:
    figure = plot_hnsw(hnsw_table())
    titles = [panel.get_title(loc="left") or panel.get_title() for panel in figure.axes]
    assert titles == [
        *(f"{name}, ef = {ef}" for ef in (20, 200) for name in ("Detection rate", "Recall", "Latency, ms")),
        "Build time, s",
        "Index size, MiB",
    ]
    recall = figure.axes[1]
    assert [text.get_text() for text in recall.texts] == ["0.904"] * 3 + ["0.916"] * 3
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["4", "16"]


def test_every_method_of_the_run_stands_beside_compression() -> None:
    figure = compression()
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    formats = {"DMin, fp32", "DMin, fp16", "DMin, int8"}
    assert labels == formats | {"DMin, uncompressed", "TRAK", "Random"}


def test_every_method_stands_in_the_budget() -> None:
    figure = budget(lds=lds_table())
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == [f"{name}, {form}" for name in ("LDS", "Detection rate") for form in ("int8", "fp16", "fp32")]
    labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert labels == {"DMin", "Gradient cosine", "TRAK", "Random"}
    assert len(budget().axes) == 3


EMPTY: dict[str, Callable[[], Figure]] = {
    "hubness": lambda: plot_hubness(hubness_table()[:0]),
    "hubness, missing column": lambda: plot_hubness(hubness_table().drop(columns="low")),
    "hnsw": lambda: plot_hnsw(hnsw_table()[:0]),
    "hnsw without mean": lambda: plot_hnsw(hnsw_table().query("subset != 'mean'")),
    "compression": lambda: compression(table=compression_table()[:0]),
    "budget": lambda: budget(compression=compression_table()[:0]),
    "budget, LDS lacks a column": lambda: budget(lds=lds_table().drop(columns="low")),
    "compression, no costs": lambda: compression(cost=cost_table().drop(columns="backend")),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_draw_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError) as caught:
        EMPTY[name]()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
