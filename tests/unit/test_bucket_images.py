"""Aspect-ratio buckets of images: their sizes, the tables of a data set in them, and what is refused under them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bucketed import ROWS, SHAPES, SIZE, STEP, assembled
from PIL import Image
from run_config import PROJECT, config

from dmin.data.buckets import Frame
from dmin.data.images import decode_image, encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples, sample_images
from dmin.models.queries.images import import_queries
from dmin.runtime.errors import UserError
from dmin.workflow.tables import read_tables


def test_buckets_of_512_px_are_those_of_sd_scripts() -> None:
    wide = [(512, 512), (576, 448), (640, 384), (704, 320), (768, 320)]
    wide += [(width, 256) for width in range(832, 1025, 64)]
    assert Frame(512, 64).buckets == sorted(
        {pair for width, height in wide for pair in [(width, height), (height, width)]}
    )
    assert Frame(512).buckets == [(512, 512)]
    wanted = {(100, 100): (512, 512), (3000, 2000): (640, 384), (9, 1): (1024, 256), (1, 9): (256, 1024)}
    assert {shape: Frame(512, 64).of(*shape) for shape in wanted} == wanted


@pytest.mark.parametrize("size", [16, 512, 1024])
def test_buckets_have_no_more_pixels_than_the_square(size: int) -> None:
    step = size // 8
    for width, height in Frame(size, step).buckets:
        assert width % step == height % step == 0 and size**2 // 2 < width * height <= size**2


def test_images_cover_their_bucket_and_lose_the_rest_on_both_sides() -> None:
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:, 15:] = 255
    image = decode_image(encode_png(Image.fromarray(pixels)), "a", Frame(SIZE, STEP))
    assert image.size == (20, 12)
    values = np.asarray(image)[:, :, 0]
    # What is cut is the same on both sides, so the edge stays in the middle.
    assert (values[:, :8] < 20).all() and (values[:, 12:] > 235).all()


def test_rows_of_one_shape_are_neighbours_and_every_shape_is_counted(tmp_path: Path) -> None:
    table = assembled(tmp_path, SHAPES, bucket_step=STEP)
    shapes = [(image.shape[1], image.shape[0]) for image in sample_images(read_samples(table))]
    assert shapes == sorted(shapes) and set(shapes) == set(SHAPES)
    found = json.loads(table.with_name("dataset.json").read_text())["buckets"]
    assert found == {f"{width}x{height}": shapes.count((width, height)) for width, height in sorted(SHAPES)}
    blocks = list(SampleRows(table, ["image"]).pixel_blocks(4))
    assert [place for places, _ in blocks for place in range(places.start, places.stop)] == list(range(ROWS))
    assert all(len(block) == places.stop - places.start for places, block in blocks)


def test_own_queries_come_to_the_buckets_of_the_training_images(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    for number, (width, height) in enumerate([(60, 20), (30, 30)]):
        Image.new("RGB", (width, height), (number, 90, 90)).save(folder / f"{number}.png")
    places = {"path": str(folder), "revision": None, "split": "train"}
    config: Any = {**places, "image_column": "image", "caption_column": None, "rows": 2}
    import_queries(config, Frame(SIZE, STEP), tmp_path / "queries.parquet")
    images = sample_images(read_samples(tmp_path / "queries.parquet"))
    assert [image.shape for image in images] == [(8, 24, 3), (16, 16, 3)]


@pytest.mark.parametrize(
    ("methods", "step", "base", "words"),
    [
        (["dmin"], 48, {}, "datasets.d.bucket_step is 48, which does not divide size 32"),
        (["dmin"], 8, {"family": "ddpm"}, "the family ddpm of model m takes square images alone"),
        (["dmin", "pixels"], 8, {}, "influence.methods has pixels, which takes images of one shape"),
        (["dmin", "dmin_scaled", "pixels_centred", "dmin_scaled_pixels"], 8, {}, "which takes images of one shape"),
        (["lissa"], 8, {}, "influence.methods has lissa, which takes images of one shape"),
    ],
)
def test_what_takes_one_shape_is_refused_before_anything_runs(
    methods: list[str], step: int, base: dict[str, str], words: str
) -> None:
    given = config(methods)
    given["datasets"]["d"]["bucket_step"] = step
    given["bases"]["b"] |= base
    given["models"]["m"] |= {"finetune": "full"} if base else {}
    with pytest.raises(UserError, match=words):
        read_tables(given, PROJECT)


def test_maps_and_regions_are_refused_too() -> None:
    for changes in (
        {"maps": {}},
        {"queries": {"per_subset": 3, "regions": [{"query": "q", "name": "n", "box": [0, 0, 1, 1]}]}},
    ):
        given = config(["dmin"], **changes)
        given["datasets"]["d"]["bucket_step"] = 8
        with pytest.raises(UserError, match=r"takes latents of one shape, but datasets\.d\.bucket_step is set"):
            read_tables(given, PROJECT)


def test_buckets_are_a_part_of_the_assembly_alone_where_they_are_set() -> None:
    given = config(["dmin"])
    assert "bucket_step" not in read_tables(given, PROJECT).datasets["d"].assembly
    given["datasets"]["d"]["bucket_step"] = 8
    tables = read_tables(given, PROJECT)
    assert tables.datasets["d"].assembly["bucket_step"] == 8 and tables.runs["r"].influence.methods == ["dmin"]
