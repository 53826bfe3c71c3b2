"""The benchmark of growth at a small size, and its table in step with its measurements."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmin.data.samples import read_samples
from dmin.models import encoding

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import growth

    return growth


def test_every_job_is_measured_on_what_those_before_it_wrote(
    growth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memory_inputs import Inputs, write_inputs, write_shards

    # A case puts encoders of its own there.
    monkeypatch.setattr(encoding, "load_family", encoding.load_family)
    write_inputs(tmp_path, 80, growth.SIDE, distinct=True)
    inputs = Inputs(tmp_path, growth.SIDE, growth.PROMPT)
    for place, name in enumerate(growth.CASES):
        if place == 3:
            write_shards(inputs)
        found = growth.run(name, inputs)
        assert found["seconds"] > 0 and found["own_mb"] < 500
        growth.update(tmp_path / "growth.csv", {"job": name, "images": 80, **found})
    assert pd.read_csv(tmp_path / "growth.csv")["job"].tolist() == list(growth.CASES)
    images = [cell["bytes"] for cell in read_samples(inputs.source, ["image"])["image"]]
    assert len(set(images)) == 80, "what is searched for duplicates"
    checked = pd.read_csv(tmp_path / "verify.csv")
    assert set(checked["kind"]) == {"dataset", "sketch", "scores", "shard"}
    assert not {"torn", "missing", "foreign"} & set(checked["status"])


def test_growth_is_the_slope_of_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from growth_page import exponent

    assert exponent(pd.Series({100: 1.0, 1000: 2.0, 10_000: 200.0})) == pytest.approx(2)
    assert exponent(pd.Series({1000: 2.0, 10_000: 20.0})) == pytest.approx(1)


@pytest.mark.parametrize("name", ["growth", "startup"])
def test_tables_are_in_step_with_their_measurements(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from growth_page import write_growth_table
    from page_part import SCALING
    from startup_page import write_startup_tables

    measured = BENCHMARKS / "results" / f"{name}.csv"
    if not measured.exists():
        assert f"<!-- {name} -->\nNot measured yet.\n<!-- /{name} -->" in SCALING.read_text()
        return
    shutil.copy(SCALING, tmp_path)
    write = {"growth": write_growth_table, "startup": write_startup_tables}[name]
    write(pd.read_csv(measured, keep_default_na=False), tmp_path / SCALING.name)
    assert (tmp_path / SCALING.name).read_text() == SCALING.read_text()


def test_start_up_is_told_by_script_and_as_a_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from startup_page import DRY_RUN, INTERPRETER, RUN, startup_table

    rows = [
        ("score", 8, 0.5, "pandas"), ("train_model", 1, 4.0, "torch diffusers"), ("embed_train", 0, 1.5, "torch"),
        (INTERPRETER, 0, 0.02, ""), (DRY_RUN, 0, 2.3, ""), (RUN, 0, 80.0, ""),
    ]  # fmt: skip
    table = startup_table(pd.DataFrame(rows, columns=["script", "jobs", "cpu_seconds", "imports"]))
    assert (
        "The 9 jobs of the embedded example start in 8 CPU-seconds altogether, 10% of the 80 of the whole run" in table
    )
    assert "| `score` | 8 | 0.50 | pandas |" in table and "`embed_train`" not in table
    assert "| torch alone | 1 | 1.50 | 1.50 |" in table


def test_scripts_of_rules_are_found_where_they_are_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from startup import rule_scripts

    scripts = rule_scripts()
    assert scripts["score"] == "score" and scripts["encode_queries"] == "encode_samples"
    assert scripts["build_ablated_index"] == "build_index" and scripts["evaluate_hnsw"] == "join_tables"
