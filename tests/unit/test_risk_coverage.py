"""Risk where the surest lists alone are answers: right order, right ends, and a figure of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_tables import texts
from matplotlib.colors import to_rgba
from retrained_bank import write_bank

from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.intervals import rate_interval
from dmin.evaluation.risk_coverage import COLUMNS, Answers, Truth, evaluate_risk_coverage
from dmin.figures.risk_coverage import plot_risk_coverage
from dmin.figures.style import save_figure
from dmin.runtime.errors import UserError


def ranked(lists: dict[str, tuple[list[float], list[bool], list[str]]]) -> pd.DataFrame:
    """Return ranked lists of queries of subset ``a``: their p-values, significance and subsets."""
    rows = [
        {"query_id": query, "query_subset": "a", "rank": rank, "sample_id": f"t/{rank}", "sample_subset": subset}
        | {"p_value": p_value, "significant": significant}
        for query, listed in lists.items()
        for rank, (p_value, significant, subset) in enumerate(zip(*listed, strict=True), 1)
    ]
    table = pd.DataFrame(rows)
    return table.assign(significant=table["significant"].astype("boolean"))


def written(folder: Path, truth: Truth, *answers: Answers) -> pd.DataFrame:
    evaluate_risk_coverage(answers, truth, folder / "risk.csv")
    table = pd.read_csv(folder / "risk.csv", dtype={"v": str})
    assert list(table.columns) == COLUMNS
    return table


def test_sure_lists_are_answered_first_and_equally_sure_ones_together(tmp_path: Path) -> None:
    top = ranked(
        {
            "q/0": ([0.3, 0.4], [False, False], ["b", "b"]),
            "q/1": ([0.01, 0.4], [True, False], ["a", "a"]),
            "q/2": ([0.01, 0.4], [True, False], ["a", "b"]),
            "q/3": ([0.01, 0.2], [True, True], ["a", "a"]),
            "q/4": ([float("nan")] * 2, [False, False], ["a", "a"]),
        }
    )
    top.to_parquet(tmp_path / "top.parquet")
    silent = top.assign(p_value=np.nan, significant=pd.NA)
    silent.to_parquet(tmp_path / "silent.parquet")
    answers = [Answers(name, "8", tmp_path / f"{name}.parquet", tmp_path / "none.npy") for name in ("top", "silent")]
    table = written(tmp_path, Truth(2, None, 0.9), *answers)
    assert set(table["method"]) == {"top"}, "a method without p-values has no order"
    line = table[table["order"] == "p_value"]
    # That of least p-values, two that are alike, one of larger ones, and last the one of which nothing is known.
    assert line["queries"].tolist() == [1, 3, 4, 5] and line["coverage"].tolist() == [0.2, 0.6, 0.8, 1.0]
    assert line["risk"].tolist() == pytest.approx([0, 0.5 / 3, 1.5 / 4, 1.5 / 5])
    thresholds = table[table["order"] == "significant"]
    assert thresholds["queries"].tolist() == [1, 3] and thresholds["risk"].tolist() == pytest.approx([0, 0.5 / 3])
    ends = rate_interval([np.array([0, 0, 0.5])], 0.9)
    assert line.iloc[1][["low", "high"]].tolist() == pytest.approx(list(ends))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bank, and scores that are true of every other query: those whose lists are sure."""
    folder = tmp_path_factory.mktemp("bank")
    made = write_bank(folder)
    true, random = (ScoreMatrix.read(made["scores"][name, "8"]) for name in ("true", "random"))
    sure = [place % 2 == 0 for place in range(len(true.queries))]
    values = np.where(np.array(sure)[:, None], true.values, random.values)
    np.save(folder / "mixed.npy", values)
    (folder / "mixed.json").write_text((folder / "true.json").read_text())
    lists = {query: ([0.01 if known else 0.5], [known], ["a"]) for query, known in zip(true.queries, sure, strict=True)}
    ranked(lists).to_parquet(folder / "top.parquet")
    return {**made, "answers": Answers("dmin", "8", folder / "top.parquet", folder / "mixed.npy")}


def test_risk_by_retraining_is_low_where_scores_are_true(bank: dict[str, Any], tmp_path: Path) -> None:
    table = written(tmp_path, Truth(1, bank["bank"], 0.95), bank["answers"])
    assert set(table["truth"]) == {"hits", "lds"}
    sure, all_of_them = table[(table["truth"] == "lds") & (table["order"] == "p_value")].to_dict("records")
    assert (sure["coverage"], all_of_them["coverage"], sure["queries"]) == (0.5, 1, 6)
    assert sure["risk"] < 0.1 and 0.3 < all_of_them["risk"] < 0.8
    assert sure["low"] < sure["risk"] < sure["high"] < all_of_them["risk"]
    # Half of the queries are known and half are not, so that their mean is not.
    assert all_of_them["high"] - all_of_them["low"] > 0.3
    (significant,) = table[(table["truth"] == "lds") & (table["order"] == "significant")].to_dict("records")
    assert significant["risk"] == sure["risk"]


def test_a_single_answer_has_no_interval_by_retraining(bank: dict[str, Any], tmp_path: Path) -> None:
    top = pd.read_parquet(bank["answers"].top)
    top.loc[top["query_id"] == "query/00", "p_value"] = 0.001
    top.to_parquet(tmp_path / "top.parquet")
    first = written(tmp_path, Truth(None, bank["bank"], 0.95), replace(bank["answers"], top=tmp_path / "top.parquet"))
    assert first.iloc[0]["queries"] == 1 and first.iloc[0][["low", "high"]].isna().all()
    assert set(first["truth"]) == {"lds"}


@pytest.mark.filterwarnings("error")
def test_figure_has_a_panel_for_every_method_and_truth(bank: dict[str, Any], tmp_path: Path) -> None:
    table = written(tmp_path, Truth(1, bank["bank"], 0.95), bank["answers"])
    # Without significant images, too.
    table = pd.concat(
        [
            table,
            table[table["order"] == "p_value"].assign(method="trak"),
            table.assign(v="full"),
            table.assign(v="2", risk=9.0),
        ]
    )
    for name in ("first", "second"):
        figure = plot_risk_coverage(table)
        save_figure(figure, [tmp_path / f"{name}.svg"])
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == [*(f"{name}\nby {truth}" for truth in ("hits", "retraining") for name in ("DMin", "TRAK"))]
    assert "surest p-values first" in texts(figure)
    panel = figure.axes[2]
    assert panel.lines[0].get_ydata()[-1] == panel.lines[1].get_ydata()[0] < 2, "the width shown, and its end"
    assert to_rgba(panel.lines[0].get_color()) != to_rgba(figure.axes[3].lines[0].get_color())


def test_figure_of_an_empty_table_is_refused() -> None:
    with pytest.raises(UserError, match="risk-coverage table is empty"):
        plot_risk_coverage(pd.DataFrame(columns=COLUMNS))
