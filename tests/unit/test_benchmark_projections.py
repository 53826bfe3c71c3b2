"""The projections that DMin's sketch is compared with keep inner products."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from checkout import PROJECT

sys.path.insert(0, str(PROJECT / "benchmarks"))
from projections import WIDTHS, count_sketch, fast_jl, gaussian, hadamard


def test_transform_is_that_of_its_matrix() -> None:
    from scipy.linalg import hadamard as matrix

    rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    wanted = rows.numpy() @ matrix(16) / 4
    np.testing.assert_allclose(hadamard(rows).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("make", [fast_jl, gaussian, lambda p, v: count_sketch(p, v, "permutation")])
def test_inner_products_survive(make) -> None:  # type: ignore[no-untyped-def]
    vectors = torch.nn.functional.normalize(torch.randn(40, 1000, generator=torch.Generator().manual_seed(1)))
    project, kept = make(1000, WIDTHS[0])
    error = project(vectors) @ project(vectors).T - vectors @ vectors.T
    assert kept > 0 and abs(error.mean().item()) < 0.01
    assert error.square().mean().sqrt().item() < 1.5 / WIDTHS[0] ** 0.5
