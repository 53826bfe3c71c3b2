"""Regions of images: masks, what they do to a loss, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from run_config import PROJECT, config, tables
from tiny_pipeline import CPU, LATENT, LISSA, gradient_config, random_samples

from dmin.attribution.sample_tables import SampleTables
from dmin.data.images import encode_png
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.lissa_cache import cache_lissa
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.shard import Shard
from dmin.models.cut_fields import choose_queries
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel, load_family
from dmin.models.queries.cut_regions import RegionFiles, cut_regions
from dmin.models.regions import Regions, box_mask, grid_masks, pooled_mask
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.workflow.job_contents import JobContents
from dmin.workflow.tables import read_tables
from dmin.workflow.verify_entries import verify_entries

SIZE, CELLS = 16, LATENT[1:]


def test_box_covers_shares_of_cells() -> None:
    assert box_mask((0, 0, 0.5, 1), 2, 4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert torch.allclose(box_mask((0.25, 0, 0.75, 0.25), 2, 2), torch.tensor([[0.25, 0.25], [0, 0]]))
    whole = torch.stack([mask for _, mask in grid_masks(3, 8, 8)]).sum(0)
    assert torch.allclose(whole, torch.ones(8, 8))
    assert [name for name, _ in grid_masks(2, 4, 4)] == ["0,0", "0,1", "1,0", "1,1"]
    assert pooled_mask(torch.tensor([[1.0, 0], [0, 0]]), 1, 1).tolist() == [[0.25]]
    with pytest.raises(UserError, match=r"maps\.grid is 9, but the latents have 8 x 8 cells.*at most 8"):
        list(grid_masks(9, 8, 8))


def test_queries_are_spread_or_listed() -> None:
    known = [f"query/{subset}/{number}" for subset in "ab" for number in range(4)]
    assert choose_queries(2, known) == ["query/a/0", "query/b/0"]
    assert choose_queries(99, known) == known
    assert choose_queries(["query/b/3"], known) == ["query/b/3"]
    with pytest.raises(UserError, match=r"maps\.queries has 'x', which is not among"):
        choose_queries(["x"], known)


@pytest.mark.parametrize("quantity", ["objective", "output_norm", "output_mean"])
def test_masked_quantities_sum_to_the_whole(tiny_base: Mapping[str, Any], quantity: str) -> None:
    family = load_family(tiny_base, CPU, ["denoiser"])
    samples = random_samples(2)
    given = (samples.latents, torch.randn((2, *LATENT)), torch.tensor([900, 100]), samples.conditioning)
    with torch.no_grad():
        whole = getattr(family, quantity)(*given).view(-1, 2)[0]
        parts = [
            getattr(family, quantity)(*given, mask.expand(2, -1, -1)).view(-1, 2)[0]
            for _, mask in grid_masks(2, *CELLS)
        ]
    assert torch.allclose(sum(parts), whole, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(parts[0], whole / 4, rtol=1e-2)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of two queries, their encoding and two masks."""
    folder = tmp_path_factory.mktemp("asked")
    colours = {"query/a/0000": (200, 0, 0), "query/b/0000": (0, 0, 200)}
    images = [
        {"bytes": encode_png(Image.new("RGB", (SIZE, SIZE), colour)), "path": None} for colour in colours.values()
    ]
    texts = {"id": list(colours), "subset": ["a", "b"], "prompt": ["red", "blue"], "label": ["", ""], "seed": [1, 2]}
    write_samples(pd.DataFrame({**texts, "image": images}), folder / "queries.parquet")
    samples = random_samples(2)
    encoded = EncodedSamples(list(colours), samples.latents, samples.conditioning, samples.unconditional)
    encoded.save(folder / "queries.safetensors")
    corner = np.zeros((SIZE, SIZE), np.uint8)
    corner[:4, :4] = 255
    Image.fromarray(corner).save(folder / "corner.png")
    return folder


def cut(folder: Path, out: Path, *regions: Mapping[str, Any]) -> tuple[pd.DataFrame, Regions]:
    files = RegionFiles(out / "regions.parquet", out / "regions.safetensors")
    given = [{"box": None, "mask": None, **region} for region in regions]
    cut_regions(given, folder / "queries.parquet", folder / "queries.safetensors", files)
    return read_samples(files.table), Regions.load(files.masks)


def test_regions_are_queries_of_their_own(asked: Path, tmp_path: Path) -> None:
    corner = {"query": "query/a/0000", "name": "corner", "mask": str(asked / "corner.png")}
    table, regions = cut(asked, tmp_path, {"query": "query/b/0000", "name": "left", "box": [0, 0, 0.5, 1]}, corner)
    assert table["id"].tolist() == ["query/b/0000@left", "query/a/0000@corner"] == list(regions.ids)
    assert table[["subset", "prompt", "query"]].iloc[1].tolist() == ["a", "red", "query/a/0000"]
    assert regions.masks[0].sum() == 32 and regions.masks[1, :2, :2].sum() == 4 == regions.masks[1].sum()
    pixels = sample_pixels(table)
    assert pixels[1, 0, 0].tolist() == [200, 0, 0] and pixels[1, 15, 15].min() > 190
    encoded = regions.encoded(asked / "queries.safetensors")
    stored = EncodedSamples.load(asked / "queries.safetensors")
    assert torch.equal(encoded.latents, stored.latents[[1, 0]]) and encoded.noised_as == table["query"].tolist()


def test_a_region_is_compared_as_its_whole_image(asked: Path, tmp_path: Path) -> None:
    cut(asked, tmp_path, {"query": "query/b/0000", "name": "left", "box": [0, 0, 0.5, 1]})
    queries = read_samples(asked / "queries.parquet")
    held_out = queries[["image"]].assign(id=["test/0", "test/1"], subset="a")
    write_samples(held_out, tmp_path / "test.parquet")
    places = (asked / "queries.parquet", asked / "none.parquet", tmp_path / "test.parquet")
    whole = SampleTables(*places).differ(["query/b/0000"], ["test/0", "test/1"])
    region = SampleTables(tmp_path / "regions.parquet", *places[1:], whole=places[0])
    assert whole.tolist() == [[True, False]]
    assert region.differ(["query/b/0000@left"], ["test/0", "test/1"]).tolist() == [[True, False]]


def test_regions_that_are_none_are_refused_by_their_job(asked: Path, tmp_path: Path) -> None:
    Image.new("L", (SIZE, SIZE)).save(tmp_path / "black.png")
    Image.new("L", (SIZE, 8), 255).save(tmp_path / "flat.png")
    for region, sentence in [
        ({"query": "query/c/0000", "box": [0, 0, 1, 1]}, r"'query/c/0000', which is not among the run's queries"),
        ({"query": "query/a/0000", "mask": str(tmp_path / "black.png")}, "is empty"),
        ({"query": "query/a/0000", "mask": str(tmp_path / "flat.png")}, "16 x 8 pixels, but the query is 16 x 16"),
    ]:
        with pytest.raises(UserError, match=sentence):
            cut(asked, tmp_path, {"name": "x", **region})


def test_gradients_and_answers_are_those_of_the_region(
    asked: Path, tmp_path: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path
) -> None:
    """Halves: their gradients, and what LiSSA answers to them, sum to those of the whole."""
    boxes = {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 1, 1], "whole": [0, 0, 1, 1]}
    cut(asked, tmp_path, *({"query": "query/a/0000", "name": name, "box": box} for name, box in boxes.items()))
    model, config = TrainedModel(tiny_base, tiny_adapter), gradient_config(keep_raw=False)

    def task(name: str) -> ShardTask:
        out = tmp_path / name / "00000000-00000003.safetensors"
        queries, regions = asked / "queries.safetensors", tmp_path / "regions.safetensors"
        return ShardTask(queries, 0, 3, out, out.with_suffix(".metrics.json"), regions)

    kind = CacheKind("loss", {"quantity": "loss", "draws": 1})
    cache_gradients(task("loss"), model, config, kind, Pace("cpu", 4))
    cache_lissa(task("lissa"), tiny_samples, model, config, {**LISSA, "products": 1}, Pace("cpu", 3))
    for name in ("loss", "lissa"):
        shard = Shard(task(name).shard)
        assert shard.ids == [f"query/a/0000@{region}" for region in boxes]
        left, right, whole = shard.read("sketch").astype(np.float32) * shard.read("norm")[..., None]
        assert np.abs(left + right - whole).max() < 2e-3 * np.abs(whole).max()
        assert np.abs(left - right).max() > 0.1 * np.abs(whole).max()


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ({"box": [0, 0, 1.5, 1]}, r"regions\.0\.box\.2: 1\.5 is greater than the maximum of 1"),
        ({"box": [0.5, 0, 0.5, 1]}, r"regions\.0\.box is \[0\.5, 0, 0\.5, 1\], which is empty"),
        ({}, "regions.0 has neither a box nor a mask; give one"),
        ({"box": [0, 0, 1, 1], "mask": "x.png"}, "has both a box and a mask; give one"),
        (
            {"box": [0, 0, 1, 1], "query": "query/red/9999"},
            r"'query/red/9999', which the run does not ask about; its \d+",
        ),
        ({"mask": "none.png"}, r"regions\.0\.mask is 'none\.png', which is no file"),
        ({"mask": "black.png"}, "'black.png' is empty"),
        ({"mask": "small.png"}, r"'small\.png' is 8 x 8 pixels, but queries are \d+ x \d+"),
        ({"mask": "palette.png"}, "save it as a greyscale PNG"),
        ({"mask": "photo.jpg"}, "is no whole PNG"),
        pytest.param(
            {"mask": "cut.png"},
            "is (cut off|no whole PNG)",
            marks=pytest.mark.attack("image", "a mask that is cut off, or unpacks to more", "refused at the dry run"),
        ),
    ],
)
def test_regions_that_are_none_are_refused_at_once(
    region: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queries = {"per_subset": 3, "regions": [{"query": "query/red/0000", "name": "x", **region}]}
    given = config(["dmin"], queries=queries)
    given["datasets"]["d"]["size"] = SIZE
    Image.new("L", (SIZE, SIZE)).save("black.png")
    Image.new("L", (8, 8), 255).save("small.png")
    Image.new("P", (SIZE, SIZE), 1).save("palette.png")
    Image.new("L", (SIZE, SIZE), 255).save("photo.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)).save("whole.png")
    Path("cut.png").write_bytes(Path("whole.png").read_bytes()[:120])
    with pytest.raises(UserError, match=sentence):
        read_tables(given, PROJECT)
    given["runs"]["r"]["queries"]["regions"][0] = {"query": "query/red/0000", "name": "x", "mask": "whole.png"}
    assert read_tables(given, PROJECT).runs["r"].regions.rankings


def test_regions_that_nothing_ranks_or_that_share_a_name_are_refused() -> None:
    region = {"query": "query/red/0000", "name": "x", "box": [0, 0, 1, 1]}
    with pytest.raises(UserError, match=r"regions\.1 has the name 'x', as another region of 'query/red/0000'"):
        tables(["dmin"], queries={"per_subset": 3, "regions": [region, {**region, "box": [0, 0, 1, 0.5]}]})
    for methods in (["pixels"], ["dmin_weighted"]):
        with pytest.raises(UserError, match=r"which methods on gradients rank that learn .*; add dmin"):
            tables(methods, queries={"per_subset": 3, "regions": [region]})
    run = tables(["dmin", "tracin", "lissa", "text"], queries={"per_subset": 3, "regions": [region]}).runs["r"]
    assert run.regions.methods == ["dmin", "tracin", "lissa"]
    folder = "<results>/runs/r/influence/lissa/v64/regions"
    assert f"{folder}/ranking.csv" in run.regions.rankings
    assert run.gradients.shards("lissa", "regions") == [
        "<results>/runs/r/gradients/lissa/regions/00000000-00000001.safetensors"
    ]
    assert run.gradients.gradient_settings("checkpoint-400", "regions")["timesteps"]["grid"] == "custom"
    assert "/lissa/regions/" in run.influence.shards("lissa", "regions")[0]
    assert not tables(["dmin"]).runs["r"].regions.rankings


def test_files_of_regions_are_checked_after_what_they_were_made_from() -> None:
    region = {"query": "query/red/0000", "name": "x", "box": [0, 0, 1, 1]}
    found = tables(["dmin", "tracin", "lissa", "text"], queries={"per_subset": 3, "regions": [region]})
    entries = verify_entries(found.runs.values(), [], JobContents(found, print))
    files = [next(iter(entry["files"].values())) for entry in entries]
    assert len(set(files)) == len(files)
    of_regions = {file: entry for file, entry in zip(files, entries, strict=True) if "regions" in file}
    for cache in ("loss", "lissa", "checkpoint-400"):
        shard = of_regions[f"runs/r/gradients/{cache}/regions/00000000-00000001.safetensors"]
        assert shard["made_from"]["regions"] == ["file", "runs/r/queries/regions.safetensors"]
    scores = of_regions["runs/r/influence/dmin/v64/regions/scores.npy"]
    assert scores["made_from"]["queries"] == ["sha256", "runs/r/sketch/loss/v64/regions.npy"]
    assert "runs/r/sketch/loss/v64/regions.npy" in of_regions
