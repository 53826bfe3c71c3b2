"""Aspect-ratio buckets: images keep their shapes in latents, training and gradients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bucketed import ROWS, SHAPES, STEP, assembled
from safetensors.torch import load_file
from tiny_families import build_ddpm
from tiny_pipeline import CPU, gradient_config, make_shard
from tiny_training import ADAPTER, train_adapter

from dmin.data.samples import read_samples, sample_images
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.pilot_scale import pilot_scale
from dmin.gradients.shard import Shard, open_shards
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.models.load import TrainedModel, load_family
from dmin.models.training.batch import Pool, draw_batch
from dmin.retraining.losses import query_losses
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

LATENTS = {(16, 16): (4, 8, 8), (24, 8): (4, 4, 12), (8, 24): (4, 12, 4)}
# What rounding to fp16 twice may change, relative to the length of a row.
HALF = 2**-10


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training table of four shapes."""
    return assembled(tmp_path_factory.mktemp("mixed"), SHAPES, bucket_step=STEP)


@pytest.fixture(scope="module")
def encoded(table: Path, tiny_base: Mapping[str, Any]) -> Path:
    out = table.with_name("train.safetensors")
    encode_samples(table, tiny_base, out, Pace("cpu", 3), bucketed=True)  # type: ignore[arg-type]
    return out


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
    named = [whole.ids[place] for place in (6, 0, 4, 0)]
    cases: list[tuple[EncodedSamples, Sequence[int]]] = [(part, range(2, 6)), (chosen, [6, 0, 4]), (again, [6, 0, 4])]
    cases += [(whole.rows(5, 6), [5]), (EncodedSamples.load_named(encoded, named), [6, 0, 4, 0])]
    cases.append((EncodedSamples.load_at(encoded, [3, 0]), [3, 0]))
    for found, places in cases:
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
        table = assembled(tmp_path / name, [(16, 16)], **changes)
        out = tmp_path / f"{name}.safetensors"
        encode_samples(table, tiny_base, out, Pace("cpu", 4), bucketed=bool(changes))  # type: ignore[arg-type]
        tables.append(table.read_bytes())
        tensors.append({key: value.numpy().tobytes() for key, value in load_file(out).items()})
        shard = make_shard(tmp_path / f"{name}-shard", tiny_base, tiny_adapter, out, gradient_config(), 0, ROWS)
        sketches.append([shard.read(part).tobytes() for part in ("sketch", "norm")])
        weights.append(train_adapter(tiny_base, out, tmp_path / f"{name}-model"))
    for one, other in (sketches, tensors, tables, weights):
        assert one == other


@pytest.mark.fault("aspect-ratio buckets under a model of square images", "one sentence names bucket_step")
def test_a_family_of_square_images_refuses_others(table: Path, tmp_path: Path) -> None:
    base = build_ddpm(tmp_path / "base")
    with pytest.raises(UserError, match=r"Images of 8 x 24 px do not fit this UNet, .* bucket_step to null"):
        encode_samples(table, base, tmp_path / "out.safetensors", Pace("cpu", 2), bucketed=True)  # type: ignore[arg-type]
