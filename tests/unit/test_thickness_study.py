"""The study of stroke thickness: which generated digits ask, which training digits go, and what is measured then."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dmin.data.images import encode_png
from dmin.data.samples import read_samples, write_samples
from dmin.data.thickness import digit_thicknesses, stroke_thickness
from dmin.evaluation.query_labels import QueryFiles, Screening
from dmin.evaluation.query_selection import select_queries, thickest_places
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.evaluation.thickness_shift import ThicknessFiles, evaluate_thickness
from dmin.figures.thickness import plot_thickness
from dmin.models.classifier import ClassifierNetwork
from dmin.retraining.removals import Chooser
from dmin.retraining.thickness_removals import choose_thickness_removals
from dmin.runtime.errors import UserError

CONFIG = {"budget": "steps", "least": 0.0, "bootstrap": 100, "confidence": 0.9, "seed": 1}


def digit(width: float, side: int = 28) -> np.ndarray:
    """Return a ring with smooth edges whose wall is ``width`` pixels of 28."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) * 28 / side - 14
    return (255 * np.clip(width / 2 - np.abs(np.hypot(rows, columns) - 8) + 0.5, 0, 1)).astype(np.uint8)


def cell(pixels: np.ndarray) -> dict[str, Any]:
    return {"bytes": encode_png(Image.fromarray(pixels)), "path": None}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A random classifier of two classes."""
    torch.manual_seed(0)
    save_file(ClassifierNetwork(28, 2, (2, 2, 2)).state_dict(), tmp_path / "classifier.safetensors")
    facts = {"classes": ["a", "b"], "size": 28, "channels": [2, 2, 2]}
    (tmp_path / "classifier.json").write_text(json.dumps(facts))
    return tmp_path / "classifier.safetensors"


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Twelve digits of two classes that thicken from 1 to 6.5, and scores of two queries for the first six."""
    rows = [(f"s{row}", "ab"[row % 2], cell(digit(1 + row / 2))) for row in range(12)]
    write_samples(pd.DataFrame(rows, columns=["id", "subset", "image"]), tmp_path / "train.parquet")
    scores = np.array([[9, 8, 7, 0, 0, 0, *[-1] * 6], [0, 8, 0, 7, 9, 0, *[-1] * 6]], dtype=np.float32)
    np.save(tmp_path / "scores.npy", scores)
    facts = {"queries": ["q0", "q1"], "train": [name for name, _, _ in rows]}
    (tmp_path / "scores.json").write_text(json.dumps(facts))
    return tmp_path / "train.parquet"


def removed(train: Path, removal: str, top_k: int = 3) -> list[str]:
    return removed_sets(train, removal, top_k)["id"].tolist()


def removed_sets(train: Path, removal: str, top_k: int = 3) -> pd.DataFrame:
    queries, out = pd.DataFrame({"id": ["q0", "q1"]}), train.with_name(f"{removal}.parquet")
    scores = train.with_name("scores.npy") if removal in ("dmin", "ssim") else None
    reference = None if removal in ("dmin", "none") else train.with_name("dmin.parquet")
    choose_thickness_removals(
        Chooser(removal, scores, reference), train, queries, {"top_k": top_k, "draws": 2, "seed": 3}, out
    )
    return pd.read_parquet(out)


def test_size_and_channels_do_not_matter_to_thickness() -> None:
    small = np.stack([np.stack([digit(width, 14)] * 3, axis=-1) for width in (2, 4)])
    assert digit_thicknesses(small) == pytest.approx([2, 4], abs=0.5)
    large = digit(3)[None, :, :, None]
    assert digit_thicknesses(large)[0] == stroke_thickness(digit(3))


def test_thickest_that_pass_are_taken_in_order() -> None:
    thickness, passed = np.array([1.0, 5.0, 3.0, 4.0, np.nan]), np.array([True, False, True, True, False])
    assert thickest_places(thickness, passed, 2) == [3, 2]
    with pytest.raises(UserError, match=r"^3 of 5 generated images pass .* asks for 4; raise queries.select.of"):
        thickest_places(thickness, passed, 4)


def test_thickest_candidates_become_queries(tmp_path: Path, classifier: Path) -> None:
    widths = [2, 6, 4, 3, 5]
    names = [f"candidate/{row}" for row in range(5)]
    rows = {"id": names, "prompt": "", "seed": range(5), "image": [cell(digit(width)) for width in widths]}
    write_samples(pd.DataFrame(rows), tmp_path / "candidates.parquet")
    out = tmp_path / "queries.parquet", tmp_path / "labels.csv"
    select_queries(tmp_path / "candidates.parquet", Screening(classifier, ["a", "b"], 0.0), 3, QueryFiles(*out))
    queries = read_samples(out[0])
    assert sorted(queries["seed"]) == [1, 2, 4]
    assert all(
        name.startswith(f"query/{subset}/") for name, subset in zip(queries["id"], queries["subset"], strict=True)
    )
    labels = pd.read_csv(out[1]).set_index("subset")
    assert labels.loc["all", "kept"] == 3 and labels.loc[["a", "b"], "kept"].sum() == 3


def test_union_of_the_lists_goes_once_and_controls_take_as_many(train: Path) -> None:
    assert removed(train, "dmin") == ["s0", "s1", "s2", "s3", "s4"]
    assert removed(train, "none") == []
    drawn = removed_sets(train, "random").groupby("set")["id"]
    assert drawn.nunique().to_dict() == {0: 5, 1: 5} and drawn.agg(set).map(len).sum() > len(
        set(removed(train, "random"))
    )
    # Another method removes as many, the first ranks of all queries first.
    assert removed(train, "dmin", top_k=1) == ["s0", "s4"] and removed(train, "ssim", top_k=3) == ["s0", "s4"]
    removed(train, "dmin")
    matched = removed(train, "class_matched")
    assert len(set(matched)) == 5 and Counter(int(name[1:]) % 2 for name in matched) == {0: 3, 1: 2}
    assert set(removed(train, "thickest")) == {"s7", "s8", "s9", "s10", "s11"}


def test_union_that_takes_a_class_is_refused(train: Path) -> None:
    with pytest.raises(UserError, match=r"^Removal dmin/0 takes all .*; lower the study's k"):
        removed(train, "dmin", top_k=12)


@pytest.fixture
def tables(train: Path, classifier: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables of two seeds and eight noises, each a pixel thinner once the thickest were removed."""
    folder, parts = train.parent, {}
    removed(train, "dmin")
    for removal, change in (("none", 0.0), ("thickest", -1.0), ("random", 0.0)):
        removed(train, removal)
        rows = [
            (f"candidate/{noise}", str(drawn), str(seed), cell(digit(2.5 + noise / 4 + seed / 8 + drawn / 8 + change)))
            for drawn in range(2 if removal == "random" else 1)
            for seed in range(2)
            for noise in range(8)
        ]
        parts[removal] = [folder / f"{removal}-images.parquet"]
        write_samples(pd.DataFrame(rows, columns=["id", "set", "repeat", "image"]), parts[removal][0])
    lists = {removal: folder / f"{removal}.parquet" for removal in parts}
    out = folder / "thickness.csv", folder / "removed.csv", folder / "values.parquet"
    evaluate_thickness(StudiedRemovals(parts, {}), lists, train, classifier, CONFIG, ThicknessFiles(*out))
    return pd.read_csv(out[0]), pd.read_csv(out[1]), pd.read_parquet(out[2])


def test_shift_is_found_with_its_interval(tables: tuple[pd.DataFrame, ...]) -> None:
    table = tables[0]
    rows = table[(table["method"] == "thickest") & (table["seed"] == "all")].set_index("statistic")
    for name in ("mean", "q10", "q50", "q90"):
        assert rows.loc[name, "shift"] == pytest.approx(-1, abs=0.3)
        assert rows.loc[name, "low"] <= rows.loc[name, "shift"] <= rows.loc[name, "high"] < 0
    assert rows.loc["ks", "value"] > 0.4 and rows.loc["ks", "p"] < 0.1
    assert rows.loc["mean", "images"] == 16 and rows.loc["mean", "removed"] == 5 and rows.loc["mean", "seeds"] == 2
    assert rows.loc["recognised", "value"] == 1 and rows.loc["recognised", "shift"] == 0
    assert set(table["seed"]) == {"all", "0", "1"}
    random = table[(table["method"] == "random") & (table["seed"] == "all")].set_index("statistic")
    # Two sets, of which one shifts: their difference widens the interval beyond that of the seeds.
    assert random.loc["mean", "removed"] == 5 and random.loc["mean", "images"] == 32
    assert random.loc["mean", "low"] < 0 < random.loc["mean", "shift"] and random.loc["mean", "seeds"] == 2
    whole = table[table["method"] == "none"]
    assert whole["shift"].isna().all() and (whole["removed"] == 0).all()


def test_removed_digits_are_counted_by_class(tables: tuple[pd.DataFrame, ...]) -> None:
    counts = tables[1].set_index(["method", "subset"])
    assert counts.loc[("thickest", "all"), "removed"] == 5 and counts.loc[("none", "all"), "removed"] == 0
    assert counts.loc["thickest"]["removed"].loc[["a", "b"]].sum() == 5
    assert counts.loc[("thickest", "all"), "thickness"] > counts.loc[("none", "all"), "thickness"]
    assert counts["train"].xs("all", level="subset").eq(12).all()


def test_figure_draws_a_line_and_intervals_for_each_removal(tables: tuple[pd.DataFrame, ...]) -> None:
    figure = plot_thickness(tables[0], tables[2])
    assert len(figure.axes[0].lines) == 3 and len(figure.axes[1].get_xticks()) == 6
    with pytest.raises(UserError, match="lacks the column 'shift'"):
        plot_thickness(tables[0].drop(columns="shift"), tables[2])
