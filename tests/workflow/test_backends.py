"""Backends of retrieval beside one another, in a run that has retrieved by one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import Checkout, micro_config
from config_tables import load

RUN = "results/runs/micro"


@pytest.fixture
def widened(finished: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of the finished run whose config asks for every backend."""
    copied = Checkout(tmp_path / "elsewhere", finished.root)
    config = micro_config()
    config["runs"]["micro"]["influence"] |= {"backends": ["exact", "cascade", "hnsw"], "cascade": {"rank": 8}}
    copied.write_config(yaml.safe_dump(config))
    return copied


def test_another_backend_makes_its_own_lists_and_the_table(widened: Checkout) -> None:
    table = f"{RUN}/tables/retrieval.csv"
    assert widened.plan(table) == {"build_cascade": 2, "retrieve_cascade": 2, "time_scan": 2, "evaluate_retrieval": 1}
    result = widened.snakemake("--cores", "1", "--", table)
    assert result.returncode == 0, result.stderr
    found = pd.read_csv(widened.root / table)
    assert found.groupby("backend")["v"].unique().map(sorted).to_dict() == {
        name: [64, 256] for name in ("exact", "cascade", "hnsw")
    }
    assert (found[found["backend"] != "hnsw"]["recall"] == 1).all()
    lists = [
        pd.read_parquet(widened.root / RUN / "influence/dmin/v64" / name / "top.parquet")
        for name in ("exact", "cascade")
    ]
    assert lists[0]["sample_id"].tolist() == lists[1]["sample_id"].tolist()
    result = widened.snakemake("--cores", "1", "verify")
    assert result.returncode == 0, result.stderr


@pytest.mark.usefixtures("micro_files")
def test_rank_above_what_there_is_is_refused() -> None:
    config = micro_config()
    config["runs"]["micro"]["influence"] |= {"backends": ["cascade"], "cascade": {"rank": 61}}
    with pytest.raises(SystemExit, match=r"cascade\.rank is 61, above the 60 training samples or the 192 values"):
        load(config)
