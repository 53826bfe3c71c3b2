"""The gradient cache: exact norms, unit gradients and their sketches, whatever the batches and shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipeline import CPU, TIMESTEPS, gradient_config, make_shard, random_samples, reorder
from torch import Tensor

from dmin.gradients import gradient_pass
from dmin.gradients.noise import draw_noise
from dmin.gradients.shard import Shard, open_shards
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_family
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError

P = 7680
WIDTH = 1024
# What rounding to fp16 twice may change, relative to the length of a row.
HALF = 2**-10


@pytest.fixture(scope="module")
def shard(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path
) -> Shard:
    return make_shard(tmp_path_factory.mktemp("cache"), tiny_base, tiny_adapter, tiny_samples)


class _KeepingSink(SketchSink):
    """A sink that remembers what it hands out in single precision."""

    kept: list[tuple[Tensor, Tensor]]

    def finish(self) -> tuple[Tensor, Tensor]:
        result = super().finish()
        self.kept.append((result[0].clone(), result[1].clone()))
        return result


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Collects the single-precision sketches and norms of every micro-batch."""
    collected: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(_KeepingSink, "kept", collected, raising=False)
    monkeypatch.setattr(gradient_pass, "SketchSink", _KeepingSink)
    return collected


def _single_gradients(
    base: Mapping[str, Any], adapter: Path, samples: EncodedSamples, draws: int = 1, quantity: str = "objective"
) -> Tensor:
    """Return the gradients ``[samples, timesteps, P]`` by autograd, one at a time, in float64."""
    family = load_family(base, CPU, ["denoiser"])
    family.load_adapter(adapter.parent)
    chosen = [value.requires_grad_() for name, value in family.denoiser.named_parameters() if "lora_" in name]
    rows = []
    for place, sample in enumerate(samples.ids):
        one = slice(place, place + 1)
        for timestep in TIMESTEPS:
            noises = draw_noise(gradient_config()["noise"], [(sample, timestep)], samples.latents.shape[1:], draws)
            conditioning = {name: value[one] for name, value in samples.conditioning.items()}
            drawn = [
                getattr(family, quantity)(samples.latents[one], noise[None], torch.tensor([timestep]), conditioning)
                for noise in noises
            ]
            loss = torch.cat(drawn).mean()
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, chosen)]).double())
    return torch.stack(rows).view(len(samples.ids), len(TIMESTEPS), -1)


def _rows(kept: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return everything kept as sketches ``[samples, timesteps, width]`` and norms ``[samples, timesteps]``."""
    sketch, norm = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return sketch.view(-1, len(TIMESTEPS), sketch.shape[-1]), norm.view(-1, len(TIMESTEPS))


def _error(found: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> float:
    """Return the largest relative error of a row, by length."""
    left, right = (torch.as_tensor(np.asarray(value)).double() for value in (found, reference))
    return float(((left - right).norm(dim=-1) / right.norm(dim=-1)).max())


def test_shard_holds_what_it_says(shard: Shard, tiny_adapter: Path) -> None:
    assert shard.ids == [f"a/{number}" for number in range(5)]
    assert shard.names == {"sketch", "norm", "raw"}
    facts = {name: (shard.read(name).shape, shard.read(name).dtype) for name in shard.names}
    assert facts == {
        "sketch": ((5, 3, WIDTH), np.float16),
        "norm": ((5, 3), np.float32),
        "raw": ((5, 3, P), np.float16),
    }
    assert shard.metadata["P"] == P and shard.metadata["timesteps"] == TIMESTEPS
    assert shard.metadata["cache_dim"] == WIDTH and shard.metadata["sketch_seed"] == 5
    assert shard.metadata["noise"] == {"policy": "by_id", "seed": 3}
    assert shard.metadata["model"] == file_digest(tiny_adapter)
    assert sorted(path.name for path in shard.path.parent.iterdir()) == [
        "00000000-00000005.metrics.json",
        "00000000-00000005.safetensors",
    ]


def test_metrics_count_the_work(shard: Shard) -> None:
    facts = json.loads(shard.path.with_suffix(".metrics.json").read_text())
    assert (facts["samples"], facts["timesteps"], facts["evaluations"], facts["parameters"]) == (5, 3, 15, P)
    # The raw gradients are an extra, not what the method needs.
    assert facts["bytes"] == 15 * (2 * WIDTH + 4)
    assert facts["raw_bytes"] == 4 * P * 15


def test_norms_and_unit_gradients_equal_autograd_one_by_one(
    shard: Shard, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path
) -> None:
    gradients = _single_gradients(tiny_base, tiny_adapter, EncodedSamples.load(tiny_samples))
    norms = gradients.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(shard.read("norm"), norms[..., 0], rtol=1e-5)
    assert _error(shard.read("raw"), gradients / norms) < HALF


def test_draws_average_the_gradient_before_its_norm_is_taken(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    averaged = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, draws=3)
    gradients = _single_gradients(tiny_base, tiny_adapter, EncodedSamples.load(tiny_samples), draws=3)
    norms = gradients.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(averaged.read("norm"), norms[..., 0], rtol=1e-5)
    assert _error(averaged.read("raw"), gradients / norms) < HALF


def test_mean_output_is_differentiated_and_its_error_kept(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    samples = EncodedSamples.load(tiny_samples)
    output = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, quantity="output_mean")
    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(tiny_adapter.parent)
    chosen = [value.requires_grad_() for name, value in family.denoiser.named_parameters() if "lora_" in name]
    for place, sample in enumerate(samples.ids[:2]):
        for step, timestep in enumerate(TIMESTEPS):
            noise = draw_noise(gradient_config()["noise"], [(sample, timestep)], samples.latents.shape[1:], 1)
            conditioning = {name: value[place : place + 1] for name, value in samples.conditioning.items()}
            given = (samples.latents[place : place + 1], noise, torch.tensor([timestep]))
            prediction = family.predict(*given, conditioning)
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(prediction.mean(), chosen)]).double()
            error = (prediction - family.target.of(*given)).square().mean().sqrt()
            assert output.read("error")[place, step] == pytest.approx(error.item(), rel=1e-5)
            assert output.read("norm")[place, step] == pytest.approx(gradient.norm().item(), rel=1e-4)
            assert _error(output.read("raw")[place, step], gradient / gradient.norm()) < HALF


def test_squared_output_is_differentiated_without_its_target(
    shard: Shard, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    output = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, quantity="output_norm")
    gradients = _single_gradients(tiny_base, tiny_adapter, EncodedSamples.load(tiny_samples), quantity="output_norm")
    norms = gradients.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(output.read("norm"), norms[..., 0], rtol=1e-5)
    assert _error(output.read("raw"), gradients / norms) < HALF
    assert output.metadata["quantity"] == "output_norm"
    assert not np.allclose(output.read("norm"), shard.read("norm"), rtol=1e-2)
    with pytest.raises(UserError, match="differ in quantity"):
        open_shards([shard.path, output.path])


def test_sketch_is_the_sketch_of_the_unit_gradient(shard: Shard) -> None:
    raw = torch.from_numpy(shard.read("raw").astype(np.float32))
    expected = CountSketch(P, WIDTH, 5).apply(raw.view(-1, P)).view(5, 3, WIDTH)
    assert _error(shard.read("sketch"), expected) < HALF
    np.testing.assert_allclose(raw.norm(dim=-1), 1.0, rtol=1e-3)
    # The squared length of a sketched unit vector has standard deviation sqrt(2 / width).
    lengths = np.linalg.norm(shard.read("sketch").astype(np.float64), axis=-1) ** 2
    assert np.abs(lengths - 1).max() < 4 * (2 / WIDTH) ** 0.5


@pytest.mark.parametrize("policy", ["shared", "per_timestep", "by_id"])
def test_batches_shards_and_order_do_not_change_gradients(
    policy: str,
    kept: list[tuple[Tensor, Tensor]],
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    config = gradient_config(noise={"policy": policy, "seed": 3}, keep_raw=False)
    order = [3, 0, 4, 2, 1]
    reorder(random_samples(5), order).save(tmp_path / "reordered.safetensors")
    plans: list[tuple[str, Path, list[tuple[int, int]], int]] = [
        ("reference", tiny_samples, [(0, 5)], 15),
        ("one by one", tiny_samples, [(0, 5)], 1),
        ("across timesteps", tiny_samples, [(0, 5)], 4),
        ("two shards", tiny_samples, [(0, 2), (2, 5)], 4),
        ("other order", tmp_path / "reordered.safetensors", [(0, 5)], 7),
    ]
    exact: dict[str, tuple[Tensor, Tensor]] = {}
    stored: dict[str, np.ndarray] = {}
    for name, samples, ranges, batch in plans:
        kept.clear()
        made = [
            make_shard(tmp_path / name, tiny_base, tiny_adapter, samples, config, start, stop, batch)
            for start, stop in ranges
        ]
        exact[name] = _rows(kept)
        stored[name] = np.concatenate([shard.read("sketch") for shard in open_shards([s.path for s in made])])
    for name, (sketch, norm) in exact.items():
        places: list[int] | slice = order if name == "other order" else slice(None)
        assert _error(sketch, exact["reference"][0][places]) < 1e-5, name
        assert _error(norm[..., None], exact["reference"][1][places][..., None]) < 1e-5, name
        assert _error(stored[name].astype(np.float32), stored["reference"][places].astype(np.float32)) < HALF, name


@pytest.mark.parametrize(("precision", "cosine"), [("bfloat16", 0.98), ("float16", 0.999)])
def test_half_precision_keeps_the_direction(
    precision: str,
    cosine: float,
    shard: Shard,
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    half = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, gradient_config(precision=precision))
    products = (half.read("raw").astype(np.float64) * shard.read("raw")).sum(-1)
    assert products.min() > cosine
    np.testing.assert_allclose(half.read("norm"), shard.read("norm"), rtol=0.05)
    with pytest.raises(UserError, match=f"differ in precision .*'{precision}'"):
        open_shards([shard.path, half.path])


def test_smaller_parameter_selection(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, shard: Shard, tmp_path: Path
) -> None:
    config = gradient_config(parameters="regex:lora_B", cache_dim=64)
    part = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, config, 0, 1)
    # Half of the adapter is B: 32 modules with 32 outputs and rank 4.
    assert part.metadata["P"] == 32 * 32 * 4
    assert (part.read("norm") < shard.read("norm")[:1]).all()


def test_keeping_no_raw_gradients(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, shard: Shard, tmp_path: Path
) -> None:
    lean = make_shard(tmp_path, tiny_base, tiny_adapter, tiny_samples, gradient_config(keep_raw=False))
    assert lean.names == {"sketch", "norm"}
    assert np.array_equal(lean.read("sketch"), shard.read("sketch"))
    assert lean.metadata == shard.metadata
    with pytest.raises(UserError, match=r"holds no 'raw'; set gradients\.keep_raw"):
        lean.read("raw")
