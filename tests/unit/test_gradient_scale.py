"""One factor per tensor: measured on a pilot, applied before the norm, and the same for both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipeline import CPU, TIMESTEPS, gradient_config, make_shard, random_samples

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods import dmin_query_scaled, dmin_scaled
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.pilot import pilot_places
from dmin.gradients.pilot_scale import pilot_scale
from dmin.gradients.scale import ScaledSink, TensorScale, tensor_factors
from dmin.gradients.shard import Shard, open_shards, write_shard
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.load import TrainedModel, load_family
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

SCALE = {"kind": "tensor", "pilot": 3, "floor": 0.1, "exponent": 1.0}
SIZES = {"a.weight": 4, "a.bias": 1, "b.weight": 5}
MEANS = {"a.weight": 2.0, "a.bias": 8.0, "b.weight": 0.0}


def test_factors_are_those_of_the_formula() -> None:
    mean = (4 * 2 + 8) / 10
    factors = tensor_factors(MEANS, SIZES, SCALE)
    assert factors == pytest.approx({name: (value + 0.1 * mean) ** -0.5 for name, value in MEANS.items()})
    whole = tensor_factors(MEANS, SIZES, {**SCALE, "exponent": 2.0, "floor": 0.5})
    assert whole["b.weight"] == pytest.approx(1 / (0.5 * mean))


def test_a_module_has_one_factor() -> None:
    factors = tensor_factors(MEANS, SIZES, {**SCALE, "kind": "module"})
    assert factors["a.weight"] == factors["a.bias"] == pytest.approx((16 / 5 + 0.16) ** -0.5)


def test_exponent_of_zero_scales_nothing() -> None:
    assert set(tensor_factors(MEANS, SIZES, {**SCALE, "exponent": 0.0}).values()) == {1.0}


@pytest.mark.parametrize(
    ("means", "changes", "sentence"),
    [
        ({**MEANS, "a.bias": float("nan")}, {}, "The pilot's gradient of 'a.bias' is not finite"),
        (dict.fromkeys(MEANS, 0.0), {}, "No parameter had a gradient in the pilot"),
        (MEANS, {"floor": 0.0}, "Tensor 'b.weight' had no gradient in the pilot, and gradients.scale.floor is 0"),
    ],
)
def test_unusable_pilots_are_refused(means: dict[str, float], changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}.*\\.$"):
        tensor_factors(means, SIZES, {**SCALE, **changes})


def test_pilot_is_spread_over_the_set_and_no_larger() -> None:
    assert pilot_places(10, 3, "scale") == [0, 3, 6]
    assert pilot_places(4, 4, "scale") == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"^gradients.scale.pilot is 5, but there are 4 training samples; lower it.$"):
        pilot_places(4, 5, "scale")


@pytest.fixture(scope="module")
def scale(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The factors of the tiny adapter's tensors."""
    out = tmp_path_factory.mktemp("scale") / "loss.json"
    config = gradient_config(scale=SCALE)
    model, kind = TrainedModel(tiny_base, tiny_adapter), {"quantity": "loss", "draws": 1}
    pilot_scale(tiny_samples, model, config, kind, Pace("cpu", 4), out)
    return out


@pytest.fixture(scope="module")
def shards(
    scale: Path,
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Shard]:
    """The same five samples cached under every power of the scale; the plain cache keeps its gradients."""
    folder, config = tmp_path_factory.mktemp("shards"), gradient_config(scale=SCALE, keep_raw=False)
    found = {"plain": make_shard(folder, tiny_base, tiny_adapter, tiny_samples)}
    for name, power in (("loss_scaled", 1), ("loss_query_scaled", 2)):
        path = folder / name / "0.safetensors"
        cache_gradients(
            ShardTask(tiny_samples, 0, 5, path, path.with_suffix(".json")),
            TrainedModel(tiny_base, tiny_adapter),
            config,
            CacheKind(name, {"quantity": "loss", "draws": 1, "power": power}, scale=scale),
            Pace("cpu", 4),
        )
        found[name] = Shard(path)
    return found


def flat(scale: Path, values: str) -> np.ndarray:
    """Return one of the columns of the factors, repeated over the elements of each tensor."""
    tensors = json.loads(scale.read_text())["tensors"]
    return np.concatenate([np.full(row["size"], row[values]) for row in tensors])


def test_pilot_measures_the_mean_square_of_each_tensor(scale: Path, shards: dict[str, Shard]) -> None:
    plain = shards["plain"]
    gradients = plain.read("raw").astype(np.float64) * plain.read("norm")[..., None]
    squares = (gradients[pilot_places(5, 3, "scale")] ** 2).mean(axis=(0, 1))
    bounds = np.cumsum([row["size"] for row in json.loads(scale.read_text())["tensors"]])[:-1]
    found = [row["mean_square"] for row in json.loads(scale.read_text())["tensors"]]
    assert found == pytest.approx([part.mean() for part in np.split(squares, bounds)], rel=2e-3)
    shares = [row["share"] for row in json.loads(scale.read_text())["tensors"]]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0


@pytest.mark.parametrize(("cache", "power"), [("loss_scaled", 1), ("loss_query_scaled", 2)])
def test_norm_is_taken_after_the_scale_and_the_sketch_after_the_norm(
    scale: Path, shards: dict[str, Shard], cache: str, power: int
) -> None:
    plain, scaled = shards["plain"], shards[cache]
    gradients = plain.read("raw").astype(np.float64) * plain.read("norm")[..., None] * flat(scale, "factor") ** power
    norms = np.linalg.norm(gradients, axis=-1)
    assert scaled.read("norm") == pytest.approx(norms, rel=2e-3)
    sketch = CountSketch(gradients.shape[-1], 1024, 5, CPU, "permutation")
    unit = torch.from_numpy(gradients / norms[..., None]).float().reshape(5 * len(TIMESTEPS), -1)
    right = sketch.apply(unit).reshape(5, len(TIMESTEPS), -1).numpy()
    assert np.abs(scaled.read("sketch").astype(np.float32) - right).max() < 2e-3
    assert scaled.metadata["scale"]["power"] == power and "scale" not in plain.metadata


def rows(shard: Shard) -> GradientRows:
    """Return the sketches of a shard as methods read them."""
    path = shard.path.with_suffix(".npy")
    np.save(path, shard.read("sketch"))
    path.with_suffix(".json").write_text(
        json.dumps({**shard.metadata, "ids": shard.ids, "v": shard.metadata["cache_dim"]})
    )
    return GradientRows([shard.path], path)


def test_scores_on_the_query_side_are_the_products_of_both_sides(scale: Path, shards: dict[str, Shard]) -> None:
    plain = shards["plain"]
    factors = flat(scale, "factor")
    gradients = plain.read("raw").astype(np.float64) * plain.read("norm")[..., None]
    scaled = gradients * factors
    scaled /= np.linalg.norm(scaled, axis=-1, keepdims=True)
    both = np.einsum("qtp,itp->qi", scaled, scaled)
    found = dmin_scaled.scores(rows(shards["loss_scaled"]), rows(shards["loss_scaled"]), {})
    assert np.abs(found - both).max() < 0.3  # a sketch of 1,024 of 7,680 values over three timesteps
    left = gradients * factors**2
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    query_side = np.einsum("qtp,itp->qi", left, gradients / np.linalg.norm(gradients, axis=-1, keepdims=True))
    found = dmin_query_scaled.scores(rows(shards["loss_query_scaled"]), rows(plain), {})
    assert np.abs(found - query_side).max() < 0.3


def test_caches_of_different_scales_do_not_mix(shards: dict[str, Shard]) -> None:
    scaled, plain = rows(shards["loss_scaled"]), rows(shards["plain"])
    with pytest.raises(UserError, match=r"differ in cache"):
        dmin_scaled.scores(scaled, plain, {})
    scaled.metadata["cache"] = plain.metadata["cache"] = "loss_scaled"
    with pytest.raises(UserError, match=r"^'query gradients' and 'training gradients' differ in scale"):
        dmin_scaled.scores(scaled, plain, {})


def test_shards_of_two_scales_do_not_make_one_cache(shards: dict[str, Shard], tmp_path: Path) -> None:
    scaled = shards["loss_scaled"]
    other = {**scaled.metadata, "scale": {**scaled.metadata["scale"], "factors": "another"}}
    arrays = {name: scaled.read(name) for name in ("sketch", "norm")}
    write_shard(tmp_path / "other.safetensors", scaled.ids, other, arrays)
    with pytest.raises(UserError, match=r"loss_scaled.*' and '.*other.safetensors' differ in scale"):
        open_shards([scaled.path, tmp_path / "other.safetensors"])


def test_scale_of_other_parameters_is_refused(scale: Path, tiny_base: Mapping[str, Any]) -> None:
    family = load_family(tiny_base, CPU, ["denoiser"])
    offsets = {name: place for place, (name, _) in enumerate(family.denoiser.named_parameters())}
    with pytest.raises(UserError, match=r"^The scale of the gradients and the model differ in the tensor '.+'"):
        TensorScale.load(scale, 1).at(offsets)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"scale": {}, "tensors": [{"tensor": "a"}]}', "[1]"])
def test_torn_scale_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "loss.json").write_text(text)
    with pytest.raises(UserError, match=r"^(Scale|File) '.*loss.json' is .*; delete it and (run|make it) again.$"):
        TensorScale.load(tmp_path / "loss.json", 1)


def test_factor_that_is_not_positive_is_named(tmp_path: Path) -> None:
    content = {"scale": SCALE, "tensors": [{"tensor": "a", "factor": 0.0}]}
    (tmp_path / "loss.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"has the factor 0.0 for 'a'"):
        TensorScale.load(tmp_path / "loss.json", 1)


def test_scaled_sink_passes_on_products_and_leaves_the_gradient_alone() -> None:
    taken: dict[int, torch.Tensor] = {}

    class Keep:
        def add(self, offset: int, gradient: torch.Tensor) -> None:
            taken[offset] = gradient

    gradient = torch.ones((2, 3))
    ScaledSink(Keep(), {4: 2.5}).add(4, gradient)
    assert taken[4].tolist() == [[2.5] * 3] * 2 and gradient.tolist() == [[1.0] * 3] * 2


def test_pilot_larger_than_the_set_is_refused_before_any_gradient(
    tmp_path: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path
) -> None:
    random_samples(2).save(tmp_path / "two.safetensors")
    config = gradient_config(scale=SCALE)
    model, kind = TrainedModel(tiny_base, tiny_adapter), {"quantity": "loss", "draws": 1}
    with pytest.raises(UserError, match=r"^gradients.scale.pilot is 3, but there are 2 training samples; lower it.$"):
        pilot_scale(tmp_path / "two.safetensors", model, config, kind, Pace("cpu", 4), tmp_path / "loss.json")
    assert not (tmp_path / "loss.json").exists()


def test_uncompressed_scaled_gradients_are_unit_after_the_scale(
    scale: Path,
    shards: dict[str, Shard],
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "raw.safetensors"
    cache_gradients(
        ShardTask(tiny_samples, 0, 5, path, path.with_suffix(".json")),
        TrainedModel(tiny_base, tiny_adapter),
        gradient_config(scale=SCALE, keep_raw=True),
        CacheKind("loss_scaled", {"quantity": "loss", "draws": 1, "power": 1}, scale=scale),
        Pace("cpu", 4),
    )
    plain = shards["plain"]
    scaled = plain.read("raw").astype(np.float64) * flat(scale, "factor")
    scaled /= np.linalg.norm(scaled, axis=-1, keepdims=True)
    kept = Shard(path).read("raw").astype(np.float64)
    assert np.abs(kept - scaled).max() < 1e-3
    whole = GradientRows([path], None)
    found = dmin_scaled.scores(whole, whole, {})
    assert np.abs(found - np.einsum("qtp,itp->qi", scaled, scaled)).max() < 5e-3
