"""DAS, against least squares fitted again without each sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated import write_gradients
from schema_defaults import options

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods import das, trak
from dmin.gradients.shard import Shard, write_shard
from dmin.runtime.errors import UserError

RELATIVE = 0.02


def test_score_is_the_squared_change_of_the_output_without_the_sample(tmp_path: Path) -> None:
    """A linear model ``f(x) = <w, x>``: its gradient is x, whatever the weights, and ridge regression fits them."""
    generator = np.random.default_rng(0)
    inputs, asked = generator.standard_normal((30, 12)), generator.standard_normal((4, 12))
    targets = inputs @ generator.standard_normal(12) + 0.3 * generator.standard_normal(30)
    penalty = RELATIVE * (inputs**2).sum() / len(inputs)

    def fit(keep: np.ndarray) -> np.ndarray:
        second = inputs[keep].T @ inputs[keep] + penalty * np.eye(12)
        return np.linalg.solve(second, inputs[keep].T @ targets[keep])

    every = np.arange(len(inputs))
    weights = fit(every)
    moved = np.stack([asked @ (weights - fit(np.delete(every, place))) for place in every], axis=1)
    errors = np.abs(inputs @ weights - targets)[:, None]
    sides = []
    for name, values, error in (("q", asked, None), ("t", inputs, errors)):
        path = tmp_path / f"{name}.safetensors"
        wide = np.pad(values, ((0, 0), (0, 36)))[:, None]
        write_gradients(path, [f"{name}/{n}" for n in range(len(values))], wide, error, timesteps=[500])
        sides.append(GradientRows([path], None))
    found = das.scores(*sides, options(relative_lambda=RELATIVE))
    assert found.dtype == np.float32 and np.allclose(found, moved**2, rtol=0.02, atol=1e-3 * (moved**2).max())
    # The kernel alone forgets residual and leverage.
    plain = trak.ridge(*sides).solve(RELATIVE)
    assert np.corrcoef(found.ravel(), moved.ravel() ** 2)[0, 1] > 0.999
    assert np.corrcoef(plain.ravel() ** 2, moved.ravel() ** 2)[0, 1] < 0.9


def test_cache_without_errors_is_named(tmp_path: Path) -> None:
    path = write_gradients(tmp_path / "t.safetensors", ["t/0", "t/1"], np.random.default_rng(0).normal(size=(2, 3, 48)))
    shard = Shard(path)
    bare = {name: shard.read(name) for name in shard.names - {"error"}}
    write_shard(path, shard.ids, shard.metadata, bare)
    rows = GradientRows([path], None)
    with pytest.raises(
        UserError, match=r"t.safetensors' have no errors of the output; score from the cache output_mean.$"
    ):
        das.scores(rows, rows, options())
