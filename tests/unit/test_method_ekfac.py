"""EK-FAC: the curvature measured on a pilot, the queries cached under its inverse, and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from curvature_oracle import dense
from run_config import RUN, tables
from tiny_families import build_ddpm
from tiny_pipeline import CPU, TIMESTEPS, gradient_config, make_shard, random_samples

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods import dmin, ekfac
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.curvature import Eigenbasis, KroneckerCurvature, TensorCurvature
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.pilot_curvature import pilot_curvature
from dmin.gradients.shard import Shard
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel
from dmin.models.sealed_tensors import SealedTensors
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.workflow.job_contents import JobContents
from dmin.workflow.verify_entries import verify_entries

FIT = {"pilot": 3, "widest": 2048}
DAMPING = 0.1


@pytest.fixture(scope="module")
def curvature(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The curvature of the tiny adapter."""
    return measure(tmp_path_factory.mktemp("curvature"), TrainedModel(tiny_base, tiny_adapter), tiny_samples)


def measure(folder: Path, model: Any, samples: Path, batch: int = 4, **changes: Any) -> Path:
    """Measure a curvature into a folder."""
    out, config = folder / "loss.safetensors", gradient_config(curvature=FIT, keep_raw=False, **changes)
    pilot_curvature(samples, model, config, {"quantity": "loss", "draws": 1}, Pace("cpu", batch), out)
    return out


def cached(folder: Path, model: Any, samples: Path, curvature: Path, damping: float = DAMPING, **changes: Any) -> Shard:
    """Cache the samples under a curvature."""
    path = folder / "0.safetensors"
    cache_gradients(
        ShardTask(samples, 0, 5, path, path.with_suffix(".json")),
        model,
        gradient_config(curvature=FIT, **changes),
        CacheKind("loss_ekfac", {"quantity": "loss", "draws": 1, "damping": damping}, curvature=curvature),
        Pace("cpu", 4),
    )
    return Shard(path)


@pytest.fixture(scope="module")
def plain(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Shard:
    return make_shard(tmp_path_factory.mktemp("plain"), tiny_base, tiny_adapter, tiny_samples)


@pytest.fixture(scope="module")
def queries(
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    curvature: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Shard:
    return cached(tmp_path_factory.mktemp("solved"), TrainedModel(tiny_base, tiny_adapter), tiny_samples, curvature)


def gradients(shard: Shard) -> np.ndarray:
    """Return the whole gradients of a shard, ``[n, T, P]``."""
    return np.asarray(shard.read("raw").astype(np.float64) * shard.read("norm")[..., None])


def test_cache_of_queries_is_that_of_the_solved_gradients(curvature: Path, plain: Shard, queries: Shard) -> None:
    fitted, right, start = KroneckerCurvature.load(curvature, DAMPING), [], 0
    raw = torch.from_numpy(gradients(plain)).flatten(0, 1)
    assert all(set(tensor.basis.tensors()) == {"left", "right"} for tensor in fitted.tensors.values())
    for tensor in fitted.tensors.values():
        part = raw[:, start : start + tensor.values.numel()]
        system = dense(double(tensor)) + fitted.damping * torch.eye(part.shape[1], dtype=torch.float64)
        right.append(torch.linalg.solve(system, part.mT).mT)
        start += part.shape[1]
    answer = torch.cat(right, 1)
    norms = torch.linalg.vector_norm(answer, dim=1)
    assert queries.read("norm").ravel() == pytest.approx(norms.numpy(), rel=5e-3)
    sketch = CountSketch(answer.shape[1], 1024, 5, CPU, "permutation").apply((answer / norms[:, None]).float())
    found = queries.read("sketch").astype(np.float32).reshape(sketch.shape)
    assert np.abs(found - sketch.numpy()).max() < 3e-3
    assert queries.metadata["curvature"] == {**FIT, "damping": DAMPING, "file": fitted.metadata()["file"]}
    assert "curvature" not in plain.metadata


def double(tensor: TensorCurvature) -> TensorCurvature:
    left, right = (None if side is None else side.double() for side in (tensor.basis.left, tensor.basis.right))
    return TensorCurvature(Eigenbasis(left, right), tensor.values.double())


def test_values_are_mean_squares_of_the_pilot(curvature: Path, plain: Shard) -> None:
    raw, start = torch.from_numpy(gradients(plain)[[0, 1, 3]]).flatten(0, 1), 0
    for tensor in KroneckerCurvature.load(curvature, DAMPING).tensors.values():
        tensor = double(tensor)
        part = raw[:, start : start + tensor.values.numel()]
        squares = tensor.basis.rotate(part, tuple(tensor.values.shape)).square().mean(0)
        assert torch.allclose(tensor.values, squares, rtol=5e-3, atol=1e-4 * float(squares.max()))
        start += part.shape[1]


def test_bases_of_no_effect_give_the_scores_of_dmin(
    curvature: Path,
    plain: Shard,
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    fitted = KroneckerCurvature.load(curvature, DAMPING)
    flat = {
        name: TensorCurvature(Eigenbasis(), torch.full_like(tensor.values, 0.5))
        for name, tensor in fitted.tensors.items()
    }
    KroneckerCurvature(flat, DAMPING).save(tmp_path / "flat.safetensors", FIT, {})
    model = TrainedModel(tiny_base, tiny_adapter)
    left = cached(tmp_path, model, tiny_samples, tmp_path / "flat.safetensors", keep_raw=True)
    rows, asked = GradientRows([plain.path], None), GradientRows([left.path], None)
    assert ekfac.scores(asked, rows, {}) == pytest.approx(dmin.scores(rows, rows, {}), abs=2e-3)


def test_much_damping_gives_the_scores_of_dmin_and_little_does_not(
    curvature: Path,
    plain: Shard,
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    rows, model = GradientRows([plain.path], None), TrainedModel(tiny_base, tiny_adapter)
    found = {}
    for damping in (1e6, 1e-2):
        shard = cached(tmp_path / str(damping), model, tiny_samples, curvature, damping, keep_raw=True)
        found[damping] = ekfac.scores(GradientRows([shard.path], None), rows, {})
    right = dmin.scores(rows, rows, {})
    assert found[1e6] == pytest.approx(right, abs=3e-3)
    assert np.abs(found[1e-2] - right).max() > 0.1


def test_a_whole_unconditional_model_has_a_curvature(tmp_path: Path) -> None:
    base = build_ddpm(tmp_path / "base")
    shapes = EncodedSamples([f"a/{row}" for row in range(5)], torch.randn(5, 3, 16, 16), {}, {})
    shapes.save(tmp_path / "train.safetensors")
    model = TrainedModel(base, tmp_path / "base")
    out = measure(tmp_path, model, tmp_path / "train.safetensors", parameters="all")
    fitted = KroneckerCurvature.load(out, DAMPING)
    for name, tensor in fitted.tensors.items():
        both = name.endswith(".weight") and "norm" not in name
        assert set(tensor.basis.tensors()) == ({"left", "right"} if both else set()), name
    shard = cached(tmp_path, model, tmp_path / "train.safetensors", out, parameters="all", keep_raw=False)
    assert (shard.read("norm") > 0).all()


def test_pilots_of_other_batches_measure_the_same(
    curvature: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    other = measure(tmp_path, TrainedModel(tiny_base, tiny_adapter), tiny_samples, batch=9)
    one, two = (KroneckerCurvature.load(path, DAMPING) for path in (curvature, other))
    vector = torch.randn(1, next(iter(one.tensors.values())).values.numel(), generator=torch.Generator().manual_seed(0))
    left, right = (next(iter(side.tensors.values())).solve(vector, side.damping) for side in (one, two))
    assert torch.allclose(left, right, rtol=1e-2, atol=1e-3 * float(left.abs().max()))


def test_curvature_of_other_parameters_is_refused(curvature: Path) -> None:
    with pytest.raises(
        UserError, match=r"^The curvature and the model differ in the tensor 'a'; delete the curvature.$"
    ):
        KroneckerCurvature.load(curvature, DAMPING).at({"a": 0}, CPU)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(float("nan"), "The pilot's gradient of 'a' is not finite"), (0.0, "No parameter had a gradient in the pilot")],
)
def test_unusable_pilots_are_refused(value: float, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}; [^\n]*\\.$"):
        KroneckerCurvature({"a": TensorCurvature(Eigenbasis(), torch.full((1, 3), value))}, DAMPING)


def test_pilot_larger_than_the_set_is_refused(tmp_path: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path) -> None:
    random_samples(2).save(tmp_path / "two.safetensors")
    tell = r"^gradients.curvature.pilot is 3, but there are 2 training samples; lower it.$"
    with pytest.raises(UserError, match=tell):
        measure(tmp_path, TrainedModel(tiny_base, tiny_adapter), tmp_path / "two.safetensors")
    assert not (tmp_path / "loss.safetensors").exists()


def test_bases_of_another_shape_and_torn_files_are_named(curvature: Path, tmp_path: Path) -> None:
    odd = {"a": TensorCurvature(Eigenbasis(left=torch.eye(3)), torch.ones(2, 4))}
    KroneckerCurvature(odd, DAMPING).save(tmp_path / "odd.safetensors", FIT, {})
    with pytest.raises(UserError, match=r"^Curvature '.*odd.safetensors' is torn or foreign \(the bases of 'a' are"):
        KroneckerCurvature.load(tmp_path / "odd.safetensors", DAMPING)
    torn = bytearray(curvature.read_bytes())
    torn[-3] ^= 1
    (tmp_path / "torn.safetensors").write_bytes(torn)
    with pytest.raises(UserError, match=r"^Curvature '.*torn.safetensors' is torn or foreign .*checksum"):
        KroneckerCurvature.load(tmp_path / "torn.safetensors", DAMPING)
    with SealedTensors(curvature, "Curvature") as file:
        assert file.check() and file.facts["curvature"] == FIT and "provenance" in file.facts


def test_sides_may_differ_in_the_curvature_alone(plain: Shard, queries: Shard) -> None:
    rows, asked = GradientRows([plain.path], None), GradientRows([queries.path], None)
    asked.metadata["noise"] = {"policy": "shared", "seed": 3}
    with pytest.raises(UserError, match=r"^'query gradients' and 'training gradients' differ in noise"):
        ekfac.scores(asked, rows, {})


def test_timesteps_of_the_pilot_are_those_of_the_cache(queries: Shard) -> None:
    assert queries.metadata["timesteps"] == TIMESTEPS


def test_curvature_is_that_of_the_queries_of_one_method() -> None:
    gradients = {"cache_dim": 256, "curvature": {"pilot": 20, "damping": 0.5}}
    found = tables(["dmin", "ekfac"], gradients=gradients)
    run = found.runs["r"]
    assert (run.influence.caches("train"), run.influence.caches("queries")) == (["loss"], ["loss", "loss_ekfac"])
    assert run.gradients.curvature("loss_ekfac") == [f"{RUN}/pilot_curvature/loss.safetensors"]
    assert run.gradients.curvature("loss") == [] == run.gradients.scale("loss_ekfac")
    settings = run.gradients.curvature_settings
    assert settings["curvature"] == {"pilot": 20, "widest": 2048} and "cache_dim" not in settings
    assert run.gradients.gradient_settings("loss_ekfac", "queries")["curvature"] == settings["curvature"]
    # What is added when it is applied measures nothing again.
    asked = run.gradients.cache_settings("loss_ekfac", "queries")
    assert asked == {"damping": 0.5, "draws": 1, "quantity": "loss"}
    assert "curvature" not in run.gradients.gradient_settings("loss", "train")
    entries = verify_entries([run], [], JobContents(found, print))
    shard = next(entry for entry in entries if entry["kind"] == "shard" and "loss_ekfac" in entry["files"]["shard"])
    assert shard["made_from"]["curvature"] == ["file", "runs/r/pilot_curvature/loss.safetensors"]


def test_curvature_of_more_samples_than_there_are_is_refused_only_where_it_is_read() -> None:
    gradients = {"cache_dim": 256, "curvature": {"pilot": 85}}
    tell = r"^runs.r.gradients.curvature.pilot is 85, but the training set has 84 samples; lower it.$"
    with pytest.raises(UserError, match=tell):
        tables(["ekfac"], gradients=gradients)
    assert tables(["dmin_scaled"], gradients=gradients).runs["r"].gradients.curvature("loss_scaled") == []
