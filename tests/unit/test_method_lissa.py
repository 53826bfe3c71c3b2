"""LiSSA's products and answers against dense Jacobians, its guard, and its resumable cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from schema_defaults import options
from tiny_pipeline import CPU, LISSA, TIMESTEPS, cache_lissa_shard, gradient_config, make_shard, random_samples
from torch.nn.attention import SDPBackend, sdpa_kernel

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS
from dmin.data.samples import write_samples
from dmin.evaluation.lissa_answers import evaluate_lissa
from dmin.gradients import gauss_newton
from dmin.gradients.attributed_networks import AttributedNetworks
from dmin.gradients.compress import compress
from dmin.gradients.gauss_newton import GaussNewton
from dmin.gradients.lissa_cache import LissaPass, cache_lissa
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.progress import Progress


@pytest.fixture
def family(tiny_base: Mapping[str, Any], tiny_adapter: Path) -> Family:
    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(tiny_adapter.parent)
    return family


@pytest.fixture
def rough_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the largest eigenvalue in few steps: the recursion converges by any scale near it, and it costs the most."""
    monkeypatch.setattr(gauss_newton, "POWER_STEPS", 4)


def make_pass(family: Family, **changes: Any) -> LissaPass:
    config = gradient_config(keep_raw=False)
    return LissaPass(family, random_samples(4), config, LISSA | changes, TIMESTEPS)


def curvature(family: Family, seed: int = 1) -> GaussNewton:
    return GaussNewton(AttributedNetworks.select(family, "adapter"), random_samples(4), 2, seed)


def jacobian(found: GaussNewton, draw: int) -> torch.Tensor:
    """Return the Jacobian ``[outputs, P]`` of a draw, by reverse mode alone."""
    parameters = {name: value.clone().requires_grad_() for name, value in found._parameters.items()}
    with sdpa_kernel([SDPBackend.MATH]):
        output = found._output(draw)(parameters).flatten()
    each = torch.eye(len(output))
    gradients = torch.autograd.grad(output, list(parameters.values()), each, is_grads_batched=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1).double()


def test_products_equal_dense_ones(family: Family) -> None:
    found = curvature(family)
    vectors = torch.randn(3, found.parameter_count, generator=torch.Generator().manual_seed(0))
    dense = jacobian(found, 0)
    expected = 2 / len(dense) * (vectors.double() @ dense.T) @ dense
    products = found.product(vectors, 0, 2)
    assert float((products - expected).norm() / expected.norm()) < 1e-4
    # Rows do not mix, draws differ, and equal seeds draw alike.
    torch.testing.assert_close(found.product(vectors[1:2], 0, 1)[0], products[1], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found.product(vectors, 1, 3), products, rtol=0.1)
    torch.testing.assert_close(curvature(family).product(vectors, 0, 3), products, rtol=1e-4, atol=1e-7)


def test_power_iteration_finds_the_largest_eigenvalue(family: Family) -> None:
    found = curvature(family)
    dense = jacobian(found, 0)
    exact = 2 / len(dense) * float(torch.linalg.eigvalsh(dense @ dense.T)[-1])
    assert found.largest_eigenvalue(1) == pytest.approx(exact, rel=0.05)


@pytest.mark.usefixtures("rough_scale")
def test_long_recursion_solves_the_damped_system(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    solver = make_pass(family, products=24)
    plain = GaussNewton.product
    monkeypatch.setattr(GaussNewton, "product", lambda self, vectors, draw, chunk: plain(self, vectors, 0, chunk))
    queries = random_samples(2, seed=9, prefix="q")
    answer = solver.compute(queries)
    gradient = solver._gradients(queries).double()
    dense = jacobian(solver._curvature, 0) * (2 / (2 * queries.latents[0].numel())) ** 0.5
    inner = torch.linalg.solve(dense @ dense.T + solver.damping * torch.eye(len(dense)), dense @ gradient.T)
    exact = (gradient - inner.T @ dense) / solver.damping
    np.testing.assert_allclose(answer["norm"], exact.norm(dim=1), rtol=1e-2)
    np.testing.assert_allclose(answer["cosine"], torch.cosine_similarity(exact, gradient, dim=1), atol=1e-3)
    sketch = CountSketch(solver.parameter_count, solver.sketch.width, gradient_config()["sketch_seed"])
    expected = sketch.apply((exact / exact.norm(dim=1, keepdim=True)).float())
    assert float((answer["sketch"].float() - expected).norm(dim=1).max()) < 0.02


@pytest.mark.usefixtures("rough_scale")
@pytest.mark.fault("LiSSA damped until it is the plain gradient", "table `lissa` has the cosine, and the job warns")
def test_heavy_damping_is_told_as_the_plain_gradient(
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queries, means = tmp_path / "queries.safetensors", {}
    random_samples(3, seed=9, prefix="q").save(queries)
    write_samples(pd.DataFrame({"id": [f"q/{n}" for n in range(3)], "subset": list("aab")}), tmp_path / "q.parquet")
    for damping in (50.0, 0.01):
        caplog.clear()
        monkeypatch.setitem(LISSA, "damping", damping)
        shard = cache_lissa_shard(tmp_path / f"{damping}", tiny_base, tiny_adapter, tiny_samples, queries, 3)
        evaluate_lissa([shard], tmp_path / "q.parquet", tmp_path / "lissa.csv")
        table = pd.read_csv(tmp_path / "lissa.csv")
        assert table["query_id"].tolist() == ["q/0", "q/1", "q/2"] and table["subset"].tolist() == list("aab")
        means[damping] = table["cosine"].mean()
        assert ("all but the plain gradients" in caplog.text) == (damping > 1)
    assert means[0.01] < means[50.0] and means[50.0] > 0.9999


def test_defaults_solve_for_curvature() -> None:
    found = options()
    assert found["lissa_damping"] <= 0.01 and found["lissa_products"] >= 100 and found["lissa_batch"] >= 64


@pytest.mark.usefixtures("rough_scale")
def test_divergence_names_the_query(family: Family) -> None:
    solver = make_pass(family, products=50, damping=0.05)
    solver.scale /= 40
    with pytest.raises(UserError, match=r"^LiSSA of query 'q/0' diverges at product \d+; raise .*lissa_damping\.$"):
        solver.compute(random_samples(2, seed=9, prefix="q"))


@pytest.mark.usefixtures("rough_scale")
def test_killed_job_goes_on_to_the_same_bytes_and_scores(
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries = tmp_path / "queries.safetensors"
    random_samples(3, seed=9, prefix="q").save(queries)
    whole = cache_lissa_shard(tmp_path / "whole", tiny_base, tiny_adapter, tiny_samples, queries, 2)
    store = Progress.store

    def die(self: Progress, rows: Mapping[str, torch.Tensor]) -> None:
        store(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "store", die)
    with pytest.raises(KeyboardInterrupt):
        cache_lissa_shard(tmp_path / "killed", tiny_base, tiny_adapter, tiny_samples, queries, 2)
    monkeypatch.setattr(Progress, "store", store)
    resumed = cache_lissa_shard(tmp_path / "killed", tiny_base, tiny_adapter, tiny_samples, queries, 2)
    assert resumed.read_bytes() == whole.read_bytes()
    train = make_shard(tmp_path / "train", tiny_base, tiny_adapter, tiny_samples)
    sides = []
    for name, shard in (("queries", whole), ("train", train.path)):
        sketch = tmp_path / f"{name}.npy"
        compress([shard], 64, sketch, sketch.with_suffix(".json"), sketch.with_suffix(".metrics.json"))
        sides.append(GradientRows([shard], sketch))
    scores = METHODS["lissa"].scores(*sides, options())
    assert scores.shape == (3, 5) and scores.dtype == np.float32 and np.isfinite(scores).all()


@pytest.mark.usefixtures("rough_scale")
def test_a_query_that_is_a_training_sample_is_its_own_proponent(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    config = gradient_config(keep_raw=False)
    shard = tmp_path / "lissa" / "00000000-00000005.safetensors"
    task = ShardTask(tiny_samples, 0, 5, shard, shard.with_suffix(".metrics.json"))
    cache_lissa(task, tiny_samples, TrainedModel(tiny_base, tiny_adapter), config, LISSA, Pace("cpu", 5))
    train = make_shard(tmp_path / "train", tiny_base, tiny_adapter, tiny_samples)
    sides = []
    for name, path in (("queries", shard), ("train", train.path)):
        sketch = tmp_path / f"{name}.npy"
        compress([path], config["cache_dim"], sketch, sketch.with_suffix(".json"), sketch.with_suffix(".metrics.json"))
        sides.append(GradientRows([path], sketch))
    scores = METHODS["lissa"].scores(*sides, options())
    assert (np.diagonal(scores) > 0).all()
