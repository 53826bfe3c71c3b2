"""Weights of tensors, learned without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated import write_gradients
from schema_defaults import options

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods import weighted_tensors
from dmin.attribution.methods.weighted_tensors import PENALTY, learn_weights
from dmin.attribution.registry import METHODS
from dmin.runtime.errors import UserError

T, P = 3, 48
BLOCKS = [["a", 0, 10, 10], ["b", 10, 14, 14], ["dead", 24, 8, 8], ["c", 32, 16, 16]]


def make_rows(folder: Path, name: str, values: np.ndarray) -> GradientRows:
    """Cache gradients ``[n, T, P]`` of four tensors, uncompressed."""
    ids = [f"{name}/{number}" for number in range(len(values))]
    return GradientRows([write_gradients(folder / f"{name}.safetensors", ids, values, blocks=BLOCKS)], None)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[GradientRows, GradientRows]:
    """Six kinds of samples, told apart by tensor ``b`` alone; ``a`` has the largest gradients, ``dead`` none."""
    generator = np.random.default_rng(0)
    kinds = np.random.default_rng(1).standard_normal((6, T, 14))
    made = []
    for name, count in (("q", 12), ("t", 90)):
        values = generator.standard_normal((count, T, P))
        values[..., :10] *= 10
        values[..., 10:24] = 0.3 * values[..., 10:24] + kinds[np.arange(count) % 6]
        values[..., 24:32] = 0
        made.append(make_rows(tmp_path, name, values))
    return made[0], made[1]


def parts_of(queries: GradientRows, train: GradientRows) -> np.ndarray:
    """Return the parts of DMin's score by tensor, of standard deviation 1, by loops."""
    left, right = queries.all().astype(np.float64), train.all().astype(np.float64)
    found = []
    for _, start, width, _ in BLOCKS:
        cells = slice(start, start + width)
        part = np.einsum("qtv,itv->qi", left[..., cells], right[..., cells])
        if part.std() > 0:
            found.append(part / part.std())
    return np.stack(found)


def objective(weights: np.ndarray, parts: np.ndarray, share: float) -> float:
    summed = np.tensordot(weights, parts, 1)
    top = max(1, round(share * summed.shape[1]))
    best = np.sort(summed, axis=1)[:, -top:].mean(1)
    return float((best / np.sqrt((summed**2).mean(1))).mean() - PENALTY * ((weights - 1) ** 2).sum())


def test_the_telling_tensor_gets_the_weight(sides: tuple[GradientRows, GradientRows]) -> None:
    queries, train = sides
    found, facts = METHODS["weighted_tensors"].run(queries, train, options(), {})
    weights = facts["tensor_weights"]
    assert list(weights) == ["a", "b", "c"] and max(weights, key=lambda name: weights[name]) == "b"
    assert facts["weighted_top"] == 0.05 and found.dtype == np.float32
    own = (np.arange(12) % 6)[:, None] == np.arange(90) % 6
    plain = METHODS["dmin"].scores(queries, train, options())

    def hits(scores: np.ndarray) -> float:
        return float(np.take_along_axis(own, np.argsort(-scores, axis=1)[:, :5], 1).mean())

    assert hits(found) > 0.95 > hits(plain)


def test_scores_are_the_weighted_sum_and_weights_the_best_near_equal_ones(
    sides: tuple[GradientRows, GradientRows],
) -> None:
    found, facts = weighted_tensors.scores(*sides, options())
    parts, weights = parts_of(*sides), np.array(list(facts["tensor_weights"].values()))
    assert np.allclose(found, np.tensordot(weights, parts, 1), atol=1e-3)
    assert weights.mean() == pytest.approx(1) and (weights >= 0).all()
    raw = learn_weights(parts, 0.05)
    best = max(objective(raw * scale, parts, 0.05) for scale in np.linspace(0.1, 3, 59))
    assert best > objective(np.ones(3), parts, 0.05) + 0.05
    for direction in np.eye(3):
        for step in (-0.2, 0.2):
            moved = np.maximum(raw + step * direction, 0)
            assert best > max(objective(moved * scale, parts, 0.05) for scale in np.linspace(0.1, 3, 59)) - 1e-3


def test_cache_without_tensors_and_equal_samples_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(2).standard_normal((4, T, P))
    whole = GradientRows([write_gradients(tmp_path / "w.safetensors", list("abcd"), values)], None)
    with pytest.raises(UserError, match="score this method from the cache loss_blocks"):
        weighted_tensors.scores(whole, whole, options())
    nothing = make_rows(tmp_path, "n", np.where(np.arange(P) < 1, 1.0, np.zeros((4, T, P))))
    with pytest.raises(UserError, match=r"^All training samples score alike on every tensor; check the gradient"):
        weighted_tensors.scores(nothing, nothing, options())
