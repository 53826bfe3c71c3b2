"""Influence maps: parts of scores sum to the scores, whatever the batches, and are those of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards
from run_config import tables
from schema_defaults import options
from tiny_pipeline import gradient_config, make_shard, random_samples

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.influence_maps import MappedLists, PartFiles, map_influence
from dmin.attribution.ranking import rank_top
from dmin.attribution.registry import METHODS
from dmin.figures.influence_maps import MappedPair, MappedQuery, overlay, plot_influence_maps, read_map
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.layer_sink import layer_group
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.shard import Shard
from dmin.models.cut_fields import FieldFiles, cut_fields
from dmin.models.load import TrainedModel
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.parquet import read_parquet

V, GRID, K = 512, 2, 2
ASKED = ["q/0", "q/2"]


class Mapped:
    """A tiny pipeline's caches, its scores of ``dmin`` and the files that maps are made from."""

    def __init__(self, folder: Path, base: Mapping[str, Any], adapter: Path, train: Path) -> None:
        self.folder, self.model = folder, TrainedModel(base, adapter)
        self.config = gradient_config(keep_raw=False)
        self.samples = {"train": train, "queries": folder / "queries.safetensors"}
        random_samples(3, seed=4, prefix="q").save(self.samples["queries"])
        sides = []
        for split, count in (("queries", 3), ("train", 5)):
            shard = make_shard(folder / split, base, adapter, self.samples[split], self.config, stop=count)
            sides.append(GradientFiles([shard.path], compress_shards([shard.path], V, folder / f"{split}.npy")))
        self.sides = GradientSides(*sides)
        queries, rows = self.sides.read()
        self.scores = METHODS["dmin"].run(queries, rows, options(), {})[0]
        subsets = dict.fromkeys([*queries.ids, *rows.ids], "a")
        self.top = folder / "top.parquet"
        write_parquet(rank_top(self.scores, queries.ids, rows.ids, subsets, 4), self.top)
        self.score = {
            (query, sample): self.scores[i, j]
            for i, query in enumerate(queries.ids)
            for j, sample in enumerate(rows.ids)
        }
        self.masks = FieldFiles(*(folder / f"{name}.safetensors" for name in ("fields", "sample_fields", "layers")))
        settings = {"queries": ASKED, "top_k": K, "grid": GRID}
        cut_fields(settings, self.samples["queries"], self.top, self.masks)

    def shard(self, part: str, batch: int) -> Path:
        """Cache the gradients of a part."""
        fields = len(ASKED) * GRID**2
        count = {"query_fields": fields, "sample_fields": K * fields, "layers": len(ASKED)}[part]
        out = self.folder / f"{part}-{batch}" / f"00000000-{count:08d}.safetensors"
        samples = self.samples["train" if part == "sample_fields" else "queries"]
        task = ShardTask(samples, 0, count, out, out.with_suffix(".metrics.json"), getattr(self.masks, part))
        kind = {"quantity": "loss", "draws": 1, "width": V} | ({"layers": True} if part == "layers" else {})
        cache_gradients(task, self.model, self.config, CacheKind("loss", kind), Pace("cpu", batch))
        return out

    def table(self, out: Path, batch: int) -> pd.DataFrame:
        """Return the table of all parts, computed in batches of ``batch``."""
        parts = PartFiles(*([self.shard(part, batch)] for part in ("query_fields", "layers", "sample_fields")))
        map_influence("dmin", self.sides, parts, MappedLists(self.top, K), options(), out)
        return read_parquet(out)


@pytest.fixture(scope="module")
def mapped(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path
) -> Mapped:
    return Mapped(tmp_path_factory.mktemp("mapped"), tiny_base, tiny_adapter, tiny_samples)


@pytest.fixture(scope="module")
def table(mapped: Mapped) -> pd.DataFrame:
    return mapped.table(mapped.folder / "maps.parquet", 24)


def test_parts_of_every_kind_sum_to_the_score(mapped: Mapped, table: pd.DataFrame) -> None:
    assert list(table.columns) == ["query_id", "sample_id", "kind", "part", "score"]
    counts = table.groupby(["query_id", "sample_id", "kind"]).size().unstack()
    assert len(counts) == len(ASKED) * K
    names = ["down_blocks.0.attentions.1.to_q.weight", "mid_block.resnets.0.conv1.bias", "conv_in.weight"]
    assert [layer_group(name) for name in names] == ["down_blocks.0", "mid_block", "conv_in"]
    found = table.loc[table["kind"] == "layer", "part"].unique().tolist()
    assert found == Shard(mapped.shard("layers", 24)).metadata["layers"] and len(found) > 1
    assert set(table.loc[table["kind"] == "timestep", "part"]) == {"900", "500", "100"}
    assert set(table.loc[table["kind"] == "query_region", "part"]) == {"0,0", "0,1", "1,0", "1,1"}
    sums = table.assign(score=table["score"].astype(float)).groupby(["kind", "query_id", "sample_id"])["score"].sum()
    for kind in ("timestep", "query_region", "layer", "sample_region"):
        for (query, sample), total in sums[kind].items():
            # Stored gradients are rounded to half precision, parts of them are not: a rounding of 2^-12 of each cell.
            tolerance = 1e-5 if kind == "timestep" else 1e-4
            assert total == pytest.approx(mapped.score[query, sample], rel=tolerance, abs=tolerance), kind
    # Both are the score of the gradient before it is rounded.
    for pair, total in sums["query_region"].items():
        assert total == pytest.approx(sums["layer"][pair], rel=1e-5, abs=1e-6)


def test_parts_sum_to_the_whole_gradient_to_single_precision(mapped: Mapped) -> None:
    """Fields and layers of one query have one sum, that of the gradient before it is rounded."""
    fields, layers = Shard(mapped.shard("query_fields", 24)), Shard(mapped.shard("layers", 24))
    assert fields.read("sketch").dtype == np.float32 and fields.metadata["v"] == V
    raw = [(shard.read("sketch") * shard.read("norm")[..., None]).astype(float) for shard in (fields, layers)]
    by_field = raw[0].reshape(len(ASKED), GRID**2, *raw[0].shape[1:]).sum(1)
    by_layer = raw[1].sum(2)
    error = np.linalg.norm(by_field - by_layer, axis=-1) / np.linalg.norm(by_layer, axis=-1)
    assert error.max() < 1e-5
    whole = mapped.sides.queries.read().norms[[0, 2]]
    norms = np.linalg.norm(layers.read("norm").astype(float), axis=2)
    assert np.allclose(norms, whole, rtol=1e-5)


def test_parts_do_not_hang_on_the_batches(mapped: Mapped, table: pd.DataFrame, tmp_path: Path) -> None:
    small = mapped.table(tmp_path / "maps.parquet", 5)
    assert small.drop(columns="score").equals(table.drop(columns="score"))
    assert np.abs(small["score"] - table["score"]).max() < 1e-5


def test_parts_of_other_images_or_settings_are_refused(mapped: Mapped, tmp_path: Path) -> None:
    parts = {name: [mapped.shard(name, 24)] for name in ("query_fields", "layers", "sample_fields")}
    swapped = PartFiles(**{**parts, "query_fields": parts["sample_fields"]})
    with pytest.raises(UserError, match="holds regions of other images than the ranked lists"):
        map_influence("dmin", mapped.sides, swapped, MappedLists(mapped.top, K), options(), tmp_path / "x.parquet")
    mapped.config["sketch_seed"] += 1
    try:
        mapped.folder, kept = tmp_path, mapped.folder
        other = PartFiles(**{**parts, "query_fields": [mapped.shard("query_fields", 24)]})
    finally:
        mapped.folder = kept
        mapped.config["sketch_seed"] -= 1
    with pytest.raises(UserError, match="differ in sketch_seed"):
        map_influence("dmin", mapped.sides, other, MappedLists(mapped.top, K), options(), tmp_path / "x.parquet")


def test_maps_of_a_run() -> None:
    run = tables(["text", "dmin_renorm", "trak", "dmin"], maps={"queries": 2, "top_k": 4, "grid": 3}).runs["r"]
    maps = run.maps
    assert (maps.method, maps.width, maps.query_count) == ("trak", "256", 2)
    assert maps.shards("query_fields") == ["<results>/runs/r/maps/loss/query_fields/00000000-00000018.safetensors"]
    assert maps.shards("sample_fields") == [] and "sample_fields" not in maps.inputs
    maps = tables(["dmin"], maps={"method": "dmin", "queries": 2, "top_k": 4, "grid": 3}).runs["r"].maps
    assert len(maps.shards("sample_fields")) == 2 and maps.cache_settings("layers", "loss")["layers"]
    assert "regions" not in maps.gradient_settings("layers", "loss") and maps.mb > 2000


@pytest.mark.parametrize(
    ("methods", "maps", "sentence"),
    [
        (["dmin_renorm"], {}, r"maps\.method is auto, and no method's scores split; add dmin to influence\.methods"),
        (["dmin"], {"method": "trak"}, r"maps\.method is trak, which influence\.methods lacks; set it to one of dmin"),
        (["dmin"], {"method": "pixels"}, r"maps\.method is 'pixels'; choose one of"),
        (["dmin"], {"top_k": 11}, r"maps\.top_k is 11, above influence\.top_k 10"),
        (["dmin"], {"queries": ["query/red/0009"]}, "has 'query/red/0009', which the run does not ask about; its 6"),
        (["dmin"], {"queries": 0}, "maps.queries"),
    ],
)
def test_maps_that_cannot_be_are_refused(methods: list[str], maps: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tables(methods, maps=maps)


def test_figure_lays_maps_over_images() -> None:
    fields = pd.DataFrame({"part": ["0,0", "0,1", "1,0", "1,1"], "score": [1.0, 0.0, -0.5, 0.0]})
    found = read_map(fields)
    assert found.tolist() == [[1, 0], [-0.5, 0]]
    shown = overlay(np.full((4, 4, 3), 100, np.uint8), found)
    assert shown[0, 0, 0] > shown[0, 0, 2] and shown[3, 0, 2] > shown[3, 0, 0]
    assert np.ptp(shown[0, 3]) == 0
    image = np.zeros((4, 4, 3), np.uint8)
    pair = MappedPair(image, "a training image", 0.5, found, None)
    figure = plot_influence_maps([MappedQuery(image, "a query", [pair, pair])])
    assert sum(text.get_text() == "score 0.5" for text in figure.axes[0].texts) == 2
    with pytest.raises(UserError, match="influence maps is empty"):
        plot_influence_maps([])
