"""Influence maps and regions of the micro run, made on demand, by jobs of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import Checkout, micro_config
from config_tables import load

from dmin.plan.estimate import estimate_run
from dmin.workflow.plan_entries import plan_entry

RUN = "results/runs/micro"
METHODS, WIDTHS = 2, 3
REGION = {"query": "query/red/0000", "name": "left", "box": [0, 0, 0.5, 1]}
RANKED = {
    "cut_regions": 1, "cache_gradients": 1, "compress": WIDTHS - 1, "score_regions": METHODS * WIDTHS,
    "write_ranking": METHODS * WIDTHS,
}  # fmt: skip
MAPPED = {"cut_fields": 1, "cache_fields": 3, "map_influence": 1, "plot_influence_maps": 1}


def config_with(regions: list[dict[str, Any]], maps: dict[str, Any] | None) -> str:
    config = micro_config()
    run = config["runs"]["micro"]
    run["queries"]["regions"] = regions
    run |= {} if maps is None else {"maps": maps}
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def mapped(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished micro run with a region's rankings and maps; their plans are checked."""
    checkout = Checkout(tmp_path_factory.mktemp("mapped"), finished.root)
    maps = {"queries": 2, "top_k": 1, "grid": 2}
    # The explorer shows them.
    shown = {"cut_fields": 1, "cache_fields": 3, "map_influence": 1, "explorer": 1}
    assert checkout.plan_as(config_with([REGION], maps)) == RANKED | shown
    checkout.write_config(config_with([REGION], maps))
    assert checkout.plan("maps") == MAPPED | {"maps": 1}
    checkout.run("maps", "rankings")
    return checkout


def test_maps_sum_to_the_scores_of_the_lists(mapped: Checkout) -> None:
    table = pd.read_parquet(mapped.root / RUN / "tables/influence_maps.parquet")
    top = pd.read_parquet(mapped.root / RUN / "influence/dmin/v256/exact/top.parquet")
    first = top[top["rank"] == 1].set_index("query_id")
    sums = table.groupby(["query_id", "sample_id", "kind"])["score"].sum()
    assert set(table["kind"]) == {"query_region", "sample_region", "timestep", "layer"} and len(sums) == 8
    for (query, sample, _), total in sums.items():
        assert sample == first["sample_id"][query]
        assert total == pytest.approx(first["score"][query], rel=1e-4, abs=1e-4)
    assert (mapped.root / RUN / "figures/influence_maps.svg").exists()
    assert not list((mapped.root / RUN / "maps").rglob("0*.safetensors"))


def test_region_has_rankings_of_its_own(mapped: Checkout) -> None:
    ranking = pd.read_csv(mapped.root / RUN / "influence/dmin/v256/regions/ranking.csv")
    assert set(ranking["query"]) == {"query/red/0000@left"} and len(ranking) == 10
    whole = pd.read_csv(mapped.root / RUN / "influence/dmin/v256/exact/ranking.csv")
    assert not {"query/red/0000@left"} & set(whole["query"])
    assert ranking["score"].tolist() != whole.loc[whole["query"] == "query/red/0000", "score"].tolist()


def test_plan_counts_what_regions_and_maps_took(mapped: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mapped.root)
    plain, tables = load(micro_config()), load(yaml.safe_load((mapped.root / "config/config.yaml").read_text()))
    entry, without = (plan_entry(each, each.runs["micro"]) for each in (tables, plain))
    shipped = mapped.root / "resources" / "architectures"
    planned, less = (
        estimate_run({**each, "throughput": 2.0}, shipped, Path("none"))[1][0] for each in (entry, without)
    )
    places = {"region": f"{RUN}/gradients/loss/regions", "map": f"{RUN}/maps"}
    for of, place in places.items():
        made = [json.loads(file.read_text()) for file in (mapped.root / place).rglob("*.metrics.json")]
        assert planned[f"{of}_evaluations"] == sum(shard["evaluations"] for shard in made) > 0
        assert planned[f"{of}_bytes"] == sum(shard["bytes"] for shard in made) > 0
        assert less[f"{of}_evaluations"] == less[f"{of}_bytes"] == 0
    further = planned["region_evaluations"] + planned["map_evaluations"]
    assert planned["hours"] - less["hours"] == pytest.approx(further / 2 / 3600)
    made = sum(
        count for rule, count in (RANKED | MAPPED).items() if rule not in ("write_ranking", "plot_influence_maps")
    )
    assert planned["jobs"] - less["jobs"] == made


def test_another_region_asks_again_and_touches_nothing_else(mapped: Checkout) -> None:
    text = (mapped.root / "config/config.yaml").read_text()
    try:
        mapped.write_config(config_with([{**REGION, "box": [0, 0, 1, 0.5]}], {"queries": 2, "top_k": 1, "grid": 2}))
        assert mapped.plan("maps", "rankings") == RANKED | {"rankings": 1}
    finally:
        mapped.write_config(text)
