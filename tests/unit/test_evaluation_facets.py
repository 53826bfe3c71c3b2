"""Detection by label: a hand-computed example where subsets tell nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dmin.data.samples import write_samples
from dmin.evaluation.detection import RankedList, Rates
from dmin.evaluation.facets import COLUMNS, evaluate_facets
from dmin.runtime.errors import UserError

# Photos of a lake and of a town, and cards that have a colour or no label.
SAMPLES = {
    "photo/0": ("photo", "lake"), "photo/1": ("photo", "lake"), "photo/2": ("photo", "town"),
    "photo/3": ("photo", "town"),
    "card/0": ("card", "red"), "card/1": ("card", None), "card/2": ("card", "lake"), "photo/0+noise": ("noise", "lake"),
}  # fmt: skip
QUERIES = {"q/0": ("photo", "lake"), "q/1": ("photo", "town"), "q/2": ("photo", "town"), "q/3": ("card", None)}
TOPS = {
    "q/0": ["photo/0", "photo/2", "card/2", "photo/0+noise"],
    "q/1": ["photo/0", "photo/1", "photo/2", "photo/3"],
    "q/2": ["photo/2", "photo/3", "photo/0", "photo/1"],
    "q/3": ["card/0", "card/1", "card/2", "photo/0"],
}
EVALUATION: Rates = {"k": [2, 4], "confidence": 0.95}


def evaluated(folder: Path, queries: dict[str, tuple[str, str | None]]) -> pd.DataFrame:
    """Write the tables and the ranked list of the example, and return the table of facets by facet and k."""
    for name, rows in (("train", SAMPLES), ("queries", queries)):
        frame = (
            pd.DataFrame.from_dict(rows, orient="index", columns=["subset", "label"]).rename_axis("id").reset_index()
        )
        write_samples(frame, folder / f"{name}.parquet")
    top = pd.DataFrame(
        [
            (query, queries[query][0], rank, sample, SAMPLES[sample][0], 1.0 / rank)
            for query, samples in TOPS.items()
            for rank, sample in enumerate(samples, 1)
        ],
        columns=["query_id", "query_subset", "rank", "sample_id", "sample_subset", "score"],
    )
    path = folder / "dmin" / "v64" / "exact" / "top.parquet"
    path.parent.mkdir(parents=True)
    top.to_parquet(path)
    tables = (folder / "train.parquet", folder / "queries.parquet")
    evaluate_facets([RankedList.at(path)], tables, "generated", EVALUATION, folder / "facets.csv")
    return pd.read_csv(folder / "facets.csv").set_index(["facet", "k"])


def test_rates_by_label(tmp_path: Path) -> None:
    table = evaluated(tmp_path, QUERIES)
    assert [name for name in COLUMNS if name not in ("facet", "k")] == list(table.columns)
    assert set(table["method"]) == {"dmin"} and set(table["v"]) == {64} and set(table["query_set"]) == {"generated"}
    # By subset nearly everything is a hit; the noised copy never is.
    assert table.at[("subset", 2), "rate"] == 1 and table.at[("subset", 2), "queries"] == 4
    assert table.at[("subset", 4), "rate"] == pytest.approx(((0.5 + 1 + 1) / 3 + 0.75) / 2)
    # By label: lake .5, town (0 + 1) / 2 at 2; at 4 both .5: a card's lake counts, the noised copy of one does not.
    assert table.at[("label", 2), "rate"] == pytest.approx(0.5) == table.at[("label", 4), "rate"]
    assert table.at[("label", 2), "queries"] == 3
    assert table.at[("label", 2), "chance"] == pytest.approx((3 / 8 + 2 / 8) / 2)
    assert (table["low"] <= table["rate"]).all() and (table["rate"] <= table["high"]).all()


def test_labels_in_no_query_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No query has a label to detect"):
        evaluated(tmp_path, {name: (subset, None) for name, (subset, _) in QUERIES.items()})
