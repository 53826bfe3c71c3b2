"""Deletion: the losses of queries once what a method names for them is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dmin.data.samples import write_samples
from dmin.evaluation.top_deletion import Deleted, evaluate_top_deletion
from dmin.figures.lds_deletion import plot_lds_deletion
from dmin.retraining.removals import Chooser, choose_removals
from dmin.runtime.errors import UserError

QUERIES = [f"query/{number:02d}" for number in range(12)]
SEEDS = 3


class Study:
    """A fabricated study, whose removals raise the loss of their own query by what is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.generator = folder, np.random.default_rng(0)
        self.base = self.generator.uniform(0.1, 0.3, (SEEDS, len(QUERIES)))
        self.deleted = {"none": self.removal("none", [], lambda k, query: 0.0)}

    def removal(
        self, name: str, sets: list[tuple[str, int]], rise: Callable[[int, int], float], noise: float = 0.0
    ) -> Deleted:
        """Write what a removal leaves out and the losses after it; ``sets`` are queries with sizes."""
        removed = [(number, query, f"s{row}") for number, (query, k) in enumerate(sets) for row in range(k)]
        table = pd.DataFrame(removed, columns=["set", "query_id", "id"])
        table.astype({"set": "int64", "query_id": "string", "id": "string"}).to_parquet(self.folder / f"{name}.parquet")
        rows = []
        for number, (asked, k) in enumerate(sets or [("", 0)]):
            for repeat, place in np.ndindex(SEEDS, len(QUERIES)):
                # A removal does to other queries what no one asked about.
                own = asked in ("", QUERIES[place])
                loss = self.base[repeat, place] + (rise(k, place) if own else 99.0)
                loss += noise * self.generator.standard_normal()
                # Two parts of one and three timesteps, whose mean by timesteps is the loss.
                rows += [(number, repeat, QUERIES[place], 500, 500, 1, loss + 0.3)]
                rows += [(number, repeat, QUERIES[place], 0, 100, 3, loss - 0.1)]
        columns = ["set", "repeat", "query_id", "low_timestep", "high_timestep", "timesteps", "loss"]
        pd.DataFrame(rows, columns=columns).to_parquet(self.folder / f"{name}-losses.parquet")
        return Deleted([self.folder / f"{name}-losses.parquet"], self.folder / f"{name}.parquet", "64")

    def table(self, **removals: Callable[[int, int], float]) -> pd.DataFrame:
        own = [(query, k) for k in (2, 5) for query in QUERIES]
        for name, rise in removals.items():
            sets = [("", k) for k in (2, 2, 5, 5)] if name == "random" else own
            self.deleted[name] = self.removal(name, sets, rise, 0.001)
        evaluate_top_deletion(self.deleted, 0.95, self.folder / "deletion.csv")
        return pd.read_csv(self.folder / "deletion.csv").set_index(["method", "k"])


def test_rise_is_that_of_the_own_query_and_paired(tmp_path: Path) -> None:
    table = Study(tmp_path).table(
        random=lambda k, query: 0.01 * k,
        dmin=lambda k, query: 0.02 * k + 0.01 * query,
        dmin_scaled=lambda k, query: 0.04 * k + 0.01 * query,
    )
    assert set(table["queries"]) == {12} and set(table["seeds"]) == {SEEDS}
    assert table.loc[("random", 5), "difference"] == pytest.approx(0.05, abs=2e-3)
    assert np.isnan(table.loc[("random", 5), "over_random"]) and np.isnan(table.loc[("dmin", 2), "over_dmin"])
    for k in (2, 5):
        row = table.loc[("dmin_scaled", k)]
        assert row["difference"] == pytest.approx(0.04 * k + 0.055, abs=2e-3)
        assert row["over_random"] == pytest.approx(0.03 * k + 0.055, abs=2e-3)
        assert row["over_dmin"] == pytest.approx(0.02 * k, abs=2e-3)
        assert row["over_random_low"] < row["over_random"] < row["over_random_high"]
        # What differs between queries and not between methods falls out of their difference.
        paired, apart = (row[f"{name}high"] - row[f"{name}low"] for name in ("over_dmin_", ""))
        assert 0 < paired < 0.3 * apart


def test_noise_alone_is_not_told_as_a_rise(tmp_path: Path) -> None:
    table = Study(tmp_path).table(random=lambda k, query: 0.0, dmin=lambda k, query: 0.0)
    row = table.loc[("dmin", 5)]
    assert row["over_random_low"] < 0 < row["over_random_high"] and abs(row["over_random"]) < 0.002


def test_one_difference_has_one_interval_whichever_side_is_random(tmp_path: Path) -> None:
    table = Study(tmp_path).table(random=lambda k, query: 0.01 * k, dmin=lambda k, query: 0.02 * k)
    for k in (2, 5):
        mine, other = table.loc[("dmin", k)], table.loc[("random", k)]
        assert mine["over_random"] == pytest.approx(-other["over_dmin"])
        assert mine["over_random_low"] == pytest.approx(-other["over_dmin_high"])
        assert mine["over_random_high"] == pytest.approx(-other["over_dmin_low"])


def test_random_removal_has_the_error_of_its_draws(tmp_path: Path) -> None:
    study, held = Study(tmp_path), 0
    for place in range(40):
        # Two draws of one size each, which differ by far more than queries and seeds do; the mean rise is 0.
        rises = np.random.default_rng(place).normal(0, 0.1, 2)
        study.deleted["random"] = study.removal("random", [("", 2), ("", 2)], lambda k, query: 0.0, 0.001)
        (path,) = study.deleted["random"].losses
        losses = pd.read_parquet(path)
        losses.assign(loss=losses["loss"] + rises[losses["set"]]).to_parquet(path)
        evaluate_top_deletion(study.deleted, 0.95, tmp_path / "deletion.csv")
        row = pd.read_csv(tmp_path / "deletion.csv").iloc[0]
        held += row["low"] < 0 < row["high"]
    assert held >= 34


@pytest.mark.fault("losses after a removal without those of nothing removed", "refused; the removal is named")
def test_missing_losses_are_told(tmp_path: Path) -> None:
    study = Study(tmp_path)
    path = study.deleted["none"].losses[0]
    table = pd.read_parquet(path)
    table[table["repeat"] > 0].to_parquet(path)
    with pytest.raises(UserError, match=r"^The losses after the removals of random are incomplete"):
        study.table(random=lambda k, query: 0.0, dmin=lambda k, query: 0.0)


def test_sets_of_every_size_are_chosen(tmp_path: Path) -> None:
    train = pd.DataFrame({"id": [f"s{row}" for row in range(9)], "subset": list("aaaaabbbb"), "image": None})
    write_samples(train.drop(columns="image"), tmp_path / "train.parquet")
    asked = pd.DataFrame({"id": ["q0", "q1"], "subset": ["a", "b"]})
    np.save(tmp_path / "scores.npy", np.arange(18, dtype=np.float32).reshape(2, 9))
    facts = {"queries": ["q0", "q1"], "train": train["id"].tolist()}
    (tmp_path / "scores.json").write_text(json.dumps(facts))
    config: Any = {"queries": 2, "k": [1, 3], "draws": 2, "seed": 5}

    def chosen(chooser: Chooser) -> list[tuple[str, int]]:
        choose_removals(chooser, tmp_path / "train.parquet", asked, config, tmp_path / "removed.parquet")
        table = pd.read_parquet(tmp_path / "removed.parquet").groupby("set")
        return list(zip(table["query_id"].first(), table.size(), strict=True))

    assert chosen(Chooser("dmin", tmp_path / "scores.npy")) == [("q0", 1), ("q1", 1), ("q0", 3), ("q1", 3)]
    assert chosen(Chooser("random")) == [("", 1), ("", 1), ("", 3), ("", 3)]


def test_both_yardsticks_are_drawn_for_every_size() -> None:
    lds = pd.DataFrame({"method": ["dmin", "pixels"], "v": ["64", ""], "query_set": "generated"})
    lds = lds.assign(lds=[0.2, 0.4], low=[0.1, 0.3], high=[0.3, 0.5])
    rows = [(name, v, k, k / 10, k / 20, k / 5) for name, v in (("dmin", "64"), ("pixels", "")) for k in (2, 5)]
    columns = ["method", "v", "k", "over_random", "over_random_low", "over_random_high"]
    deletion = pd.DataFrame([*rows, ("random", "", 2, None, None, None)], columns=columns)
    figure = plot_lds_deletion(lds, deletion.assign(difference=0, low=0, high=0))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["2 removed", "5 removed"]
    points = [line.get_xydata().tolist()[0] for line in figure.axes[1].lines if len(line.get_xydata()) == 1]
    assert points == [[0.2, 0.5], [0.4, 0.5]]
