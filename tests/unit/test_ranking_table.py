"""Ranked lists for people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.ranking import rank_top
from dmin.attribution.ranking_table import RANKING_COLUMNS, ranking_table, write_ranking
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.runtime.atomic import write_parquet

SCORES = np.array([[0.1, -1.0, 0.3], [-2.0, -1.0, -3.0]], dtype=np.float32)
SUBSETS = {"query/a": "query", "query/b": "query", "s/0": "s", "s/1": "s", "s/2": "s"}
SAMPLES = pd.DataFrame(
    {"id": ["s/2", "s/1", "s/0"], "prompt": ['two, "quoted"', "", "none"], "origin": ["2.png", "1.png", "0.png"]}
)


def top(k: int = 3) -> pd.DataFrame:
    return rank_top(SCORES, ["query/a", "query/b"], ["s/0", "s/1", "s/2"], SUBSETS, k)


def test_rows_name_files_and_share_out_what_is_positive() -> None:
    table = ranking_table(top(), SAMPLES, {"query/a": "made.png", "query/b": ""})
    assert tuple(table.columns) == RANKING_COLUMNS
    first = table[table["query"] == "query/a"]
    assert first["file"].tolist() == ["2.png", "0.png", "1.png"] and set(first["query_file"]) == {"made.png"}
    assert first["share"].tolist() == [0.75, 0.25, 0.0] and first["score"].tolist() == [0.3, 0.1, -1.0]
    # Nothing spoke for these: no share, and no division by zero.
    assert table.loc[table["query"] == "query/b", "share"].tolist() == [0.0, 0.0, 0.0]


def test_shares_are_of_the_list_that_is_shown() -> None:
    assert ranking_table(top(1), SAMPLES, {"query/a": "", "query/b": ""})["share"].tolist() == [1.0, 0.0]


def test_csv_and_json_hold_equal_rows_and_equal_bytes_again(tmp_path: Path) -> None:
    image = {"bytes": b"-", "path": None}
    write_samples(SAMPLES.assign(subset="s", label=None, image=[image] * 3), tmp_path / "train.parquet")
    queries = pd.DataFrame({"id": ["query/a", "query/b"], "image": [{**image, "path": "made.png"}, image]})
    write_samples(queries, tmp_path / "queries.parquet")
    write_parquet(top(), tmp_path / "top.parquet")
    tables = SampleTables(tmp_path / "queries.parquet", tmp_path / "train.parquet")
    for name in ("one", "two"):
        write_ranking(tmp_path / "top.parquet", tables, tmp_path / f"{name}.csv", tmp_path / f"{name}.json")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    read = pd.read_csv(tmp_path / "one.csv", keep_default_na=False)
    rows = json.loads((tmp_path / "one.json").read_text())["ranking"]
    unknown = {"p_value", "significant", "low", "high"}
    assert {name for row in rows for name, value in row.items() if value is None} == unknown
    assert read.to_dict("records") == [
        {name: "" if value is None else value for name, value in row.items()} for row in rows
    ]
    assert read["query_file"].tolist() == ["made.png"] * 3 + [""] * 3 and read["caption"][0] == 'two, "quoted"'
