"""Aspect-ratio buckets: images keep their shapes from the data set to training, gradients and lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from run_config import PROJECT, config
from safetensors.torch import load_file
from tiny_families import build_ddpm
from tiny_pipeline import CPU, gradient_config, make_shard
from tiny_training import ADAPTER, train_adapter

from dmin.data.assembly import AssembledFiles, assemble_dataset
from dmin.data.buckets import Frame
from dmin.data.images import decode_image, encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples, sample_images, write_samples
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.pilot_scale import pilot_scale
from dmin.gradients.shard import Shard, open_shards
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.models.load import TrainedModel, load_family
from dmin.models.queries.images import import_queries
from dmin.models.training.batch import Pool, draw_batch
from dmin.retraining.losses import query_losses
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.workflow.tables import read_tables

SIZE, STEP = 16, 4
# A square, and what is wide and high.
SHAPES = [(16, 16), (24, 8), (8, 24)]
LATENTS = {(16, 16): (4, 8, 8), (24, 8): (4, 4, 12), (8, 24): (4, 12, 4)}
ROWS = 7
# What rounding to fp16 twice may change, relative to the length of a row.
HALF = 2**-10


def _source(path: Path, shapes: Sequence[tuple[int, int]]) -> Path:
    generator = np.random.default_rng(0)
    sides = [shapes[row % len(shapes)] for row in range(ROWS)]
    pixels = [generator.integers(0, 256, (2 * height, 2 * width, 3), dtype=np.uint8) for width, height in sides]
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    frame = pd.DataFrame({"image": pd.Series(images), "prompt": [f"a red flag {row}" for row in range(ROWS)]})
    write_samples(frame.assign(label=None, origin=[f"{row}.png" for row in range(ROWS)], repeats=1), path)
    return path


def _assembled(folder: Path, shapes: Sequence[tuple[int, int]], **changes: Any) -> Path:
    """Assemble a data set of images of ``shapes`` and return its training table."""
    folder.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "size": SIZE, "seed": 0, "train_fraction": 1, "test_sources": [], "classes": None, "convert_profiles": True,
        "noise": {"fraction": 0, "std": 0.1}, **changes,
    }  # fmt: skip
    paths = [folder / name for name in ("train.parquet", "test.parquet", "dataset.json", "duplicates.csv")]
    assemble_dataset({"a": _source(folder / "a.parquet", shapes)}, config, AssembledFiles(*paths))  # type: ignore[arg-type]
    return paths[0]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training table of four shapes."""
    return _assembled(tmp_path_factory.mktemp("mixed"), SHAPES, bucket_step=STEP)


@pytest.fixture(scope="module")
def encoded(table: Path, tiny_base: Mapping[str, Any]) -> Path:
    out = table.with_name("train.safetensors")
    encode_samples(table, tiny_base, out, Pace("cpu", 3), bucketed=True)  # type: ignore[arg-type]
    return out


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


def test_rows_of_one_shape_are_neighbours_and_every_shape_is_counted(table: Path) -> None:
    shapes = [(image.shape[1], image.shape[0]) for image in sample_images(read_samples(table))]
    assert shapes == sorted(shapes) and set(shapes) == set(SHAPES)
    found = json.loads(table.with_name("dataset.json").read_text())["buckets"]
    assert found == {f"{width}x{height}": shapes.count((width, height)) for width, height in sorted(SHAPES)}
    blocks = list(SampleRows(table, ["image"]).pixel_blocks(4))
    assert [place for places, _ in blocks for place in range(places.start, places.stop)] == list(range(ROWS))
    assert all(len(block) == places.stop - places.start for places, block in blocks)


def test_encoded_latents_are_those_of_each_image_alone(
    encoded: Path, table: Path, tiny_base: Mapping[str, Any]
) -> None:
    family = load_family(tiny_base, CPU, ["encoders"])
    samples, rows = EncodedSamples.load(encoded), read_samples(table)
    assert list(samples.ids) == rows["id"].tolist()
    assert sorted(samples.shapes) == sorted(LATENTS.values())
    for place, image in enumerate(sample_images(rows)):
        pixels = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1
        latents = samples.latents_at(torch.tensor([place]))
        assert tuple(latents.shape[1:]) == LATENTS[(image.shape[1], image.shape[0])]
        assert torch.allclose(latents, family.encode_images(pixels), atol=1e-5)
    with pytest.raises(UserError, match=r"have several shapes .*; set the data set's bucket_step to null"):
        _ = samples.latents


def test_parts_of_a_file_and_choices_keep_their_latents(encoded: Path, tmp_path: Path) -> None:
    whole = EncodedSamples.load(encoded)
    part = EncodedSamples.load(encoded, 2, 6)
    chosen = whole.take([6, 0, 4])
    chosen.save(tmp_path / "chosen.safetensors")
    again = EncodedSamples.load(tmp_path / "chosen.safetensors")
    for found, places in ((part, range(2, 6)), (chosen, [6, 0, 4]), (again, [6, 0, 4]), (whole.rows(5, 6), [5])):
        assert list(found.ids) == [whole.ids[place] for place in places] and found.bucketed
        for own, place in enumerate(places):
            assert torch.equal(found.latents_at(torch.tensor([own])), whole.latents_at(torch.tensor([place])))
    with pytest.raises(ValueError, match="several shapes"):
        whole.latents_at(torch.arange(ROWS))


@pytest.mark.parametrize("kind", ["permutation", "rolled"])
def test_gradients_are_those_of_each_shape_alone_in_any_batches(
    kind: str, encoded: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    config = gradient_config(sketch_kind=kind, keep_raw=False)
    samples = EncodedSamples.load(encoded)
    mixed = make_shard(tmp_path / "mixed", tiny_base, tiny_adapter, encoded, config, 0, ROWS, batch=30)
    parts = [
        make_shard(tmp_path / "parts", tiny_base, tiny_adapter, encoded, config, start, stop, batch=4)
        for start, stop in ((0, 3), (3, ROWS))
    ]
    alone = []
    # Neighbours are of one shape, in the order of the table.
    for run in samples.runs(range(ROWS)):
        own = samples.rows(run.start, run.stop)
        count, file = len(own.ids), tmp_path / f"{run.start}.safetensors"
        latents = own.latents_at(torch.arange(count))
        EncodedSamples(own.ids, latents, own.conditioning, own.unconditional).save(file)
        alone.append(make_shard(tmp_path / str(run.start), tiny_base, tiny_adapter, file, config, 0, count))
    assert [shard.metadata["latent"] for shard in alone] == [list(LATENTS[shape]) for shape in sorted(SHAPES)]
    expected = np.concatenate([shard.read("sketch") for shard in alone]).astype(np.float64)
    lengths = np.linalg.norm(expected, axis=-1)
    for found in (mixed.read("sketch"), np.concatenate([part.read("sketch") for part in parts])):
        assert (np.linalg.norm(found - expected, axis=-1) / lengths).max() < 2 * HALF
    # A shard of queries that happen to be square is of the same kind.
    assert mixed.metadata["latent"] == [4]
    assert len(open_shards([part.path for part in parts])) == 2


def test_killed_cache_of_several_shapes_resumes_to_the_same_bytes(
    encoded: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(out: Path) -> Shard:
        return make_shard(out, tiny_base, tiny_adapter, encoded, gradient_config(keep_raw=False), 0, ROWS)

    whole, compute, calls = make(tmp_path / "whole"), GradientPass.compute, 0

    def die(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return compute(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(GradientPass, "compute", die)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "cut")
    assert make(tmp_path / "cut").path.read_bytes() == whole.path.read_bytes()


def test_pilot_takes_every_shape(
    encoded: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    scale = {"kind": "tensor", "pilot": ROWS, "floor": 0.1, "exponent": 1.0}
    config: Any = gradient_config(keep_raw=False, scale=scale)
    for batch in (4, 30):
        out = tmp_path / f"{batch}.json"
        model: Any = TrainedModel(tiny_base, tiny_adapter)  # type: ignore[arg-type]
        pilot_scale(encoded, model, config, {"quantity": "loss", "draws": 1}, Pace("cpu", batch), out)
    one, other = (json.loads((tmp_path / f"{batch}.json").read_text())["tensors"] for batch in (4, 30))
    assert [row["mean_square"] for row in one] == pytest.approx([row["mean_square"] for row in other], rel=1e-4)


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 1000, (count,), generator=generator)


def test_steps_are_of_one_shape_and_see_every_sample_equally_often(encoded: Path) -> None:
    samples = EncodedSamples.load(encoded)
    pool, settings = Pool.of(samples), {**ADAPTER["train"], "batch_size": 3}
    seen: Counter[int] = Counter()
    for step in range(2 * ROWS):
        batch = draw_batch(pool, settings, step, _uniform)  # type: ignore[arg-type]
        (kind,) = set(samples.kinds[batch.index].tolist())
        assert batch.noise.shape == (3, *samples.shapes[kind])
        seen.update(batch.index.tolist())
    assert seen == dict.fromkeys(range(ROWS), 6)


def test_interrupted_training_on_several_shapes_resumes_bit_for_bit(
    encoded: Path, tiny_base: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, objective, dying = [], StableDiffusion.objective, 0

    def watch(self: StableDiffusion, *inputs: Any) -> torch.Tensor:
        shapes.append(tuple(inputs[0].shape[1:]))
        if len(shapes) == dying:
            raise KeyboardInterrupt
        return objective(self, *inputs)

    monkeypatch.setattr(StableDiffusion, "objective", watch)
    whole = train_adapter(tiny_base, encoded, tmp_path / "whole")
    assert len(shapes) == 7 and len(set(shapes)) >= 2
    shapes.clear()
    dying = 6
    with pytest.raises(KeyboardInterrupt):
        train_adapter(tiny_base, encoded, tmp_path / "cut")
    dying = 0
    assert train_adapter(tiny_base, encoded, tmp_path / "cut") == whole


def test_losses_of_several_shapes_are_those_of_each_alone(encoded: Path, tiny_base: Mapping[str, Any]) -> None:
    samples, family = EncodedSamples.load(encoded), load_family(tiny_base, CPU, ["denoiser"])
    together = query_losses(family, samples, [900, 100], 3, 5)
    for place in (0, 3, 6):
        assert torch.allclose(query_losses(family, samples.take([place]), [900, 100], 3, 1), together[place], rtol=1e-4)


def test_square_images_give_the_same_bytes_with_buckets_and_without(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    sketches, tensors, tables, weights = [], [], [], []
    for name, changes in (("plain", {}), ("buckets", {"bucket_step": STEP})):
        table = _assembled(tmp_path / name, [(16, 16)], **changes)
        out = tmp_path / f"{name}.safetensors"
        encode_samples(table, tiny_base, out, Pace("cpu", 4), bucketed=bool(changes))  # type: ignore[arg-type]
        tables.append(table.read_bytes())
        tensors.append({key: value.numpy().tobytes() for key, value in load_file(out).items()})
        shard = make_shard(tmp_path / f"{name}-shard", tiny_base, tiny_adapter, out, gradient_config(), 0, ROWS)
        sketches.append([shard.read(part).tobytes() for part in ("sketch", "norm")])
        weights.append(train_adapter(tiny_base, out, tmp_path / f"{name}-model"))
    for one, other in (sketches, tensors, tables, weights):
        assert one == other


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


def test_buckets_are_a_part_of_the_assembly_alone_where_they_are_set() -> None:
    given = config(["dmin"])
    assert "bucket_step" not in read_tables(given, PROJECT).datasets["d"].assembly
    given["datasets"]["d"]["bucket_step"] = 8
    tables = read_tables(given, PROJECT)
    assert tables.datasets["d"].assembly["bucket_step"] == 8 and tables.runs["r"].influence.methods == ["dmin"]


@pytest.mark.fault("aspect-ratio buckets under a model of square images", "one sentence names bucket_step")
def test_a_family_of_square_images_refuses_others(table: Path, tmp_path: Path) -> None:
    base = build_ddpm(tmp_path / "base")
    with pytest.raises(UserError, match=r"Images of 8 x 24 px do not fit this UNet, .* bucket_step to null"):
        encode_samples(table, base, tmp_path / "out.safetensors", Pace("cpu", 2), bucketed=True)  # type: ignore[arg-type]
