"""DMin with learned timestep weights: convex, cross-fitted, and no score sees its own query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import write_gradients
from schema_defaults import options
from scipy.optimize import minimize

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.halves import split_halves
from dmin.attribution.methods.dmin_weighted import FLOOR, PENALTY, learn_weights, scores, timestep_products
from dmin.attribution.registry import METHODS
from dmin.runtime.errors import UserError

T, P = 3, 48
SUBSETS = ("a", "b", "c")


def _rows(folder: Path, name: str, count: int, seed: int) -> GradientRows:
    """Samples of three subsets whose gradients show the subset at the second timestep alone."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((3, P))
    values = generator.standard_normal((count, T, P))
    values[:, 1] += centres[np.arange(count) % 3]
    ids = [f"{name}/{place}" for place in range(count)]
    return GradientRows([write_gradients(folder / f"{name}.safetensors", ids, values)], None)


def _subsets(*sides: GradientRows) -> dict[str, str]:
    return {name: SUBSETS[int(name.split("/")[1]) % 3] for side in sides for name in side.ids}


@pytest.fixture
def sides(tmp_path: Path) -> tuple[GradientRows, GradientRows]:
    return _rows(tmp_path, "q", 12, 1), _rows(tmp_path, "t", 60, 0)


def _own(queries: GradientRows, train: GradientRows, subsets: dict[str, str]) -> np.ndarray:
    return np.array([[subsets[q] == subsets[i] for i in train.ids] for q in queries.ids])


def _hits(values: np.ndarray, own: np.ndarray) -> float:
    return float(np.take_along_axis(own, np.argsort(-values, axis=1)[:, :5], 1).mean())


def test_the_telling_timestep_gets_the_weight(sides: tuple[GradientRows, GradientRows]) -> None:
    queries, train = sides
    subsets = _subsets(*sides)
    values, facts = METHODS["dmin_weighted"].run(queries, train, options(), subsets)
    assert values.shape == (12, 60) and values.dtype == np.float32 and facts["seed"] == 42
    assert np.abs(values).max() <= T + 1e-3
    for half in facts["timestep_weights"].values():
        weights = np.array(half["weights"])
        assert (weights > 0).all() and weights.mean() == pytest.approx(1) and weights.argmax() == 1
    plain = METHODS["dmin"].scores(queries, train, options())
    own = _own(queries, train, subsets)
    assert _hits(values, own) > _hits(plain, own)


def test_scores_are_the_weighted_products(sides: tuple[GradientRows, GradientRows]) -> None:
    queries, train = sides
    values, facts = scores(queries, train, options(), _subsets(*sides))
    left, right = queries.all().astype(float), train.all().astype(float)
    halves = facts["timestep_weights"].values()
    assert sorted(name for half in halves for name in half["queries"]) == sorted(queries.ids)
    for half in halves:
        for name in half["queries"]:
            q = queries.ids.index(name)
            expected = [sum(w * left[q, t] @ row[t] for t, w in enumerate(half["weights"])) for row in right]
            np.testing.assert_allclose(values[q], expected, atol=1e-5)


def test_no_score_depends_on_the_subset_of_its_own_query(sides: tuple[GradientRows, GradientRows]) -> None:
    queries, train = sides
    subsets = _subsets(*sides)
    values, facts = scores(queries, train, options(), subsets)
    own = _own(queries, train, subsets)
    first = np.array([name in facts["timestep_weights"]["first"]["queries"] for name in queries.ids])
    products = timestep_products(queries, train)
    lies = own.copy()
    lies[first] = ~own[first]
    weights = learn_weights(products[:, ~first], lies[~first])
    np.testing.assert_allclose(values[first], np.tensordot(weights, products[:, first], 1), atol=1e-5)
    # What it does depend on is the other half.
    assert not np.allclose(learn_weights(products[:, first], lies[first]), weights, atol=0.1)


def test_weights_are_the_one_optimum() -> None:
    generator = np.random.default_rng(0)
    products, own = generator.standard_normal((3, 5, 20)), generator.random((5, 20)) < 0.3
    own[:, 0] = True
    spread = products.std((1, 2))

    def loss(weights: np.ndarray) -> float:
        total = PENALTY * float(((weights - 1) ** 2).sum())
        for q in range(5):
            scores = sum(w * products[t, q] / spread[t] for t, w in enumerate(weights))
            total += float(np.mean([np.log(np.exp(scores).sum()) - scores[i] for i in np.flatnonzero(own[q])])) / 5
        return total

    start = np.full(3, 0.2)
    slow: Any = minimize(loss, start, method="SLSQP", bounds=[(FLOOR, None)] * 3, options={"ftol": 1e-14})
    expected = slow.x / spread
    np.testing.assert_allclose(learn_weights(products, own), 3 * expected / expected.sum(), atol=1e-3)


def test_planted_duplicates_rank_first(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    values = generator.standard_normal((60, T, P))
    planted = [4, 16, 19, 43]
    values[planted] = values[4]
    train = GradientRows([write_gradients(tmp_path / "t.safetensors", [f"t/{n}" for n in range(60)], values)], None)
    asked = 5 * values[[4, 4, 7, 7]]
    queries = GradientRows([write_gradients(tmp_path / "q.safetensors", [f"q/{n}" for n in (0, 3, 1, 4)], asked)], None)
    scored, _ = scores(queries, train, options(), _subsets(queries, train))
    for row in scored[:2]:
        assert sorted(np.argsort(-row, kind="stable")[:4].tolist()) == planted


def test_halves_depend_on_seed_and_ids_alone() -> None:
    ids = [f"q/{number}" for number in range(30)]
    subsets = {name: SUBSETS[int(name[2:]) % 3] for name in ids}
    first = split_halves(ids, subsets, 1)
    assert first.sum() == 15 and all(first[place::3].sum() == 5 for place in range(3))
    assert split_halves(ids[::-1], subsets, 1).tolist() == first[::-1].tolist()
    assert split_halves(ids, subsets, 2).tolist() != first.tolist()


def test_what_cannot_be_learned_is_refused(tmp_path: Path, sides: tuple[GradientRows, GradientRows]) -> None:
    queries, train = _rows(tmp_path, "one", 1, 5), sides[1]
    with pytest.raises(UserError, match=r"No subset has two queries to halve; set queries\.per_subset to 2 or more"):
        scores(queries, train, options(), _subsets(queries, train))
    with pytest.raises(UserError, match="dmin_weighted has no query whose subset is in the training set"):
        learn_weights(np.ones((3, 2, 4)), np.zeros((2, 4), bool))
    with pytest.raises(UserError, match="not finite; check the gradient cache's log"):
        learn_weights(np.full((3, 2, 4), np.nan), np.ones((2, 4), bool))


def test_timesteps_that_tell_nothing_keep_a_weight() -> None:
    products = np.zeros((2, 2, 6))
    products[:, :, 3:] = 1.0
    own = np.zeros((2, 6), bool)
    own[:, :3] = True
    np.testing.assert_allclose(learn_weights(products, own), 1.0)
