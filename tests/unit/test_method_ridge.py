"""Ridge kernels against direct solutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dmin.attribution.ridge import RidgeKernel
from dmin.runtime.errors import UserError

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@pytest.fixture(scope="module", params=[(40, 15), (15, 40)], ids=["more samples", "more features"])
def features(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Features of training samples and queries."""
    generator = np.random.default_rng(0)
    n, width = request.param
    return generator.standard_normal((n, width)), generator.standard_normal((6, width))


def test_dual_equals_primal(features: tuple[np.ndarray, np.ndarray]) -> None:
    train, queries = features
    kernel = RidgeKernel(train @ train.T)
    second = train.T @ train
    for relative in GRID:
        penalty = relative * np.trace(second) / len(train)
        primal = np.linalg.solve(second + penalty * np.eye(len(second)), train.T)
        solved = kernel.solve(queries @ train.T, relative)
        assert solved.dtype == np.float64 and kernel.penalty(relative) == pytest.approx(penalty)
        np.testing.assert_allclose(solved, queries @ primal, atol=1e-8)
        np.testing.assert_allclose(kernel.solution_norms(relative), np.linalg.norm(primal, axis=0), atol=1e-8)


def test_one_decomposition_serves_every_penalty(features: tuple[np.ndarray, np.ndarray]) -> None:
    train, queries = features
    gram, cross = train @ train.T, queries @ train.T
    kernel = RidgeKernel(gram)
    for relative in GRID:
        penalty = relative * np.trace(gram) / len(gram)
        direct = cross @ np.linalg.inv(gram + penalty * np.eye(len(gram)))
        np.testing.assert_allclose(kernel.solve(cross, relative), direct, atol=1e-8)


def test_published_kernels_agree_up_to_their_units(features: tuple[np.ndarray, np.ndarray]) -> None:
    """The kernels of dattri 0.3.0 and traker 0.3.2, as they stand in their code, at our lambda."""
    train, queries = features
    kernel = RidgeKernel(train @ train.T)
    ours, penalty = kernel.solve(queries @ train.T, 0.1), kernel.penalty(0.1)
    # dattri divides every gradient by sqrt(P), so its lambda is ours over P, and solves once per checkpoint.
    unit = np.sqrt(train.shape[1])
    scaled, asked = train / unit, queries / unit
    second = scaled.T @ scaled
    second[np.diag_indices_from(second)] += penalty / unit**2
    np.testing.assert_allclose(asked @ np.linalg.solve(second, scaled.T), ours, atol=1e-8)
    # traker sums over blocks of samples and divides the inverse by its mean size: ranks only.
    total = np.zeros_like(second)
    for block in np.array_split(train, 3):
        total += block.T @ block
    inverse = np.linalg.inv(total + penalty * np.eye(len(total)))
    size = np.abs(inverse).mean()
    np.testing.assert_allclose((train @ (inverse / size) @ queries.T).T * size, ours, atol=1e-8)


def test_relative_penalty_ignores_the_unit_of_the_features(features: tuple[np.ndarray, np.ndarray]) -> None:
    train, queries = features
    plain = RidgeKernel(train @ train.T).solve(queries @ train.T, 0.1)
    for unit in (1e-6, 1e6):
        scaled = RidgeKernel(unit**2 * train @ train.T).solve(unit**2 * queries @ train.T, 0.1)
        np.testing.assert_allclose(scaled, plain, atol=1e-8)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "0.1", True])
def test_penalty_out_of_range_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"relative_lambda is .*; set it to a positive number, such as 0\.1"):
        RidgeKernel(np.eye(3)).solve(np.ones((1, 3)), value)


@pytest.mark.parametrize(("dtype", "enough"), [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_singular_kernel_is_refused(dtype: Any, enough: float) -> None:
    kernel = RidgeKernel(np.ones((4, 4), dtype))
    with pytest.raises(UserError, match=r"singular at relative_lambda 1e-17; raise it"):
        kernel.solve(np.ones((1, 4)), 1e-17)
    assert np.isfinite(kernel.solve(np.ones((1, 4)), enough)).all()


def test_kernel_without_content_is_refused() -> None:
    with pytest.raises(UserError, match="is zero"):
        RidgeKernel(np.zeros((3, 3)))
    with pytest.raises(UserError, match="is not finite"):
        RidgeKernel(np.full((3, 3), np.inf))
