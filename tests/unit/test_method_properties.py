"""What every method that reads gradients must do, whatever it is called: a new one cannot escape these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import UNSIGNED, write_gradients
from schema_defaults import options

from dmin.attribution.checkpoints import Checkpoint
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.held_rows import HeldRows
from dmin.attribution.registry import METHODS
from dmin.runtime.errors import UserError

T, P = 3, 48
SIZE = 12
RIDGE = 0.3
TIMESTEPS = [900, 500, 100]
METHODS_ON_GRADIENTS = sorted(name for name, method in METHODS.items() if method.inputs in ("gradients", "checkpoints"))
# Spearman's correlation with leaving a sample out that each must exceed. What solves for curvature is nearly exact, but
# for DataInf's swap; what divides by a sample's own length gives up its residual's size, and so do unit gradients.
AGREEMENT = {
    "trak": 0.95, "dtrak": 0.95, "journey_trak": 0.95, "lissa": 0.95, "lissa_gram": 0.9, "datainf": 0.6,
    "relative_if": 0.8, "renormalised_if": 0.8, "dmin_kernel": 0.7, "dtrak_unit": 0.7, "dmin": 0.5, "dmin_no_norm": 0.5,
    "dmin_renorm": 0.5, "dmin_centred": 0.5, "dmin_weighted": 0.5, "grad_dot": 0.5, "grad_cos": 0.5, "tracin": 0.5,
    "retrac": 0.5, "tracin_final": 0.5, "retrac_final": 0.5, "dmin_scaled": 0.5, "dmin_query_scaled": 0.5,
    "trak_scaled": 0.95, "dmin_kernel_scaled": 0.7, "dtrak_unit_scaled": 0.7, "das": 0.9,
    "dmin_scaled_shrunk": 0.5, "weighted_tensors": 0.5, "ekfac": 0.5,
}  # fmt: skip


def rows(folder: Path, name: str, values: np.ndarray, **metadata: Any) -> GradientRows:
    """Cache gradients ``[n, T, P]``, uncompressed, as one tensor."""
    ids = [f"{name}/{number}" for number in range(len(values))]
    blocks = [["weight", 0, values.shape[-1], values.shape[-1]]]
    folder.mkdir(parents=True, exist_ok=True)
    path = write_gradients(folder / f"{name}.safetensors", ids, values, blocks=blocks, **metadata)
    return GradientRows([path], None)


def solved(queries: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return what LiSSA's pass keeps of each query, ``[m, 1, P]``: the damped inverse curvature times its gradient.

    The Gauss-Newton matrix of a linear model is the second moment of its inputs; here that of the gradients stands in.
    """
    mean = train.mean(1)
    curvature = mean.T @ mean / len(mean)
    damping = 0.001 * np.linalg.eigvalsh(curvature)[-1]
    return (queries.mean(1) @ np.linalg.inv(curvature + damping * np.eye(len(curvature))))[:, None]


def run(method: str, folder: Path, queries: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return a method's scores ``[m, n]`` of gradients ``[m, T, P]`` and ``[n, T, P]``, with its own kind of input."""
    entry = METHODS[method]
    if entry.inputs == "checkpoints":
        left = rows(folder, "q", queries, draws=4)
        right = rows(folder, "t", train.mean(1, keepdims=True), timesteps=["replayed"], draws=1)
        return entry.scores([Checkpoint(left, right, 0.5), Checkpoint(left, right, 0.25)])
    right = rows(folder, "t", train)
    if method == "lissa":
        return entry.scores(rows(folder, "q", solved(queries, train), timesteps=[900]), right, options())
    left, right = (
        rows(folder, name, side, timesteps=TIMESTEPS[: side.shape[1]]) for name, side in (("q", queries), ("t", train))
    )
    subsets = {name: "ab"[place % 2] for side in (left, right) for place, name in enumerate(side.ids)}
    given = options(relative_lambda=0.03, lissa_iterations=1000, damping=0.01)
    return entry.run(left, right, given, subsets)[0]


@pytest.fixture(scope="module")
def regression() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of queries and training samples, and the exact rise ``[m, n]`` of each query's loss without a sample.

    Ridge regression with one target per timestep; the loss is the mean squared error over them.
    """
    generator = np.random.default_rng(1)
    n = 600
    truth = generator.standard_normal(SIZE)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = generator.standard_normal((count, SIZE)) * np.linspace(0.2, 2, SIZE)
        common = 0.7 * generator.standard_normal((count, 1))
        return inputs, (inputs @ truth)[:, None] + common + 0.2 * generator.standard_normal((count, T))

    (inputs, targets), (asked, answers) = draw(n), draw(20)

    def fit(keep: np.ndarray) -> np.ndarray:
        second = inputs[keep].T @ inputs[keep] + RIDGE * np.eye(SIZE)
        return np.linalg.solve(second, inputs[keep].T @ targets[keep].mean(1))

    def loss(weights: np.ndarray) -> np.ndarray:
        return (((asked @ weights)[:, None] - answers) ** 2).mean(1)

    weights = fit(np.arange(n))
    rise = np.stack([loss(fit(np.delete(np.arange(n), i))) - loss(weights) for i in range(n)], axis=1)
    sides = []
    for x, y in ((asked, answers), (inputs, targets)):
        values = 2 * ((x @ weights)[:, None] - y)[:, :, None] * x[:, None]
        sides.append(np.pad(values, ((0, 0), (0, 0), (0, P - SIZE))))
    return sides[0], sides[1], rise


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Return the mean over rows of the rank correlation of two matrices."""
    ranks = [np.argsort(np.argsort(side, axis=1), axis=1) for side in (left, right)]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]))


@pytest.mark.parametrize("method", METHODS_ON_GRADIENTS)
def test_larger_means_that_the_loss_rises_without_the_sample(
    regression: tuple[np.ndarray, np.ndarray, np.ndarray], method: str, tmp_path: Path
) -> None:
    queries, train, rise = regression
    if method in ("datainf", "lissa_gram"):
        # Timesteps are concatenated: where targets differ by little, so do they, and H is all but singular there.
        queries, train = (side.mean(1, keepdims=True) for side in (queries, train))
    scores = run(method, tmp_path, queries, train)
    rise = np.abs(rise) if method in UNSIGNED else rise
    assert scores.shape == rise.shape and scores.dtype == np.float32
    assert spearman(scores, rise) > AGREEMENT[method]


def test_ignoring_curvature_costs_what_the_bounds_say(
    regression: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    queries, train, rise = regression
    found = {method: spearman(run(method, tmp_path / method, queries, train), rise) for method in ("trak", "grad_dot")}
    assert found["trak"] > found["grad_dot"] + 0.05


@pytest.mark.parametrize("method", METHODS_ON_GRADIENTS)
def test_duplicates_of_the_query_come_first(method: str, tmp_path: Path) -> None:
    values = np.random.default_rng(3).standard_normal((60, T, P))
    values[:] = values[:, :1] + 0.3 * values
    planted = [4, 16, 18, 42]
    values[planted] = values[4]
    # Two queries in each subset, for what learns on one half.
    asked = 5 * values[[4, 7, 4, 9]]
    scores = run(method, tmp_path, asked, values)
    for row in (scores[0], scores[2]):
        assert sorted(np.argsort(-row, kind="stable")[: len(planted)].tolist()) == planted
        assert (row[planted] > 0).all()


@pytest.mark.parametrize("method", METHODS_ON_GRADIENTS)
def test_order_of_samples_and_other_queries_do_not_matter(method: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    train, asked = generator.standard_normal((20, T, P)), generator.standard_normal((4, T, P))
    plain = run(method, tmp_path / "a", asked, train)
    # A method that learns from subsets knows them by place here, so parities stay.
    order = np.concatenate([generator.permutation(10) * 2, generator.permutation(10) * 2 + 1]).reshape(2, 10).T.ravel()
    moved = run(method, tmp_path / "b", asked, train[order])
    np.testing.assert_allclose(moved, plain[:, order], atol=2e-3 * np.abs(plain).max())


@pytest.mark.parametrize("method", METHODS_ON_GRADIENTS)
def test_an_opponent_scores_below_zero(method: str, tmp_path: Path) -> None:
    values = np.random.default_rng(6).standard_normal((30, T, P))
    asked = values[[3, 4, 3, 4]]
    train = values.copy()
    train[3] = -values[3]
    scores = run(method, tmp_path, asked, train)
    if method in UNSIGNED:
        assert (scores >= 0).all() and scores[0].argmax() == 3
    else:
        assert scores[0, 3] < 0 and scores[0].argmin() == 3


@pytest.mark.parametrize(
    ("method", "same"),
    [("dmin", True), ("dmin_no_norm", True), ("grad_dot", False), ("grad_cos", False), ("trak", False)],
)
def test_timesteps_meet_only_where_the_method_says_so(method: str, same: bool, tmp_path: Path) -> None:
    """A sample whose gradient at one timestep is the query's at another is no match of same-timestep products."""
    values = np.random.default_rng(7).standard_normal((6, T, P)) * 1e-3
    direction = np.zeros(P)
    direction[0] = 1.0
    values[0, 1] = direction
    asked = np.full((1, T, P), 1e-6)
    asked[0, 0] = direction
    scores = run(method, tmp_path, asked, values)
    won = scores[0].argmax() == 0 and scores[0, 0] > 3 * np.sort(np.abs(scores[0]))[-2]
    assert won != same


def test_norms_are_those_of_the_whole_gradient_at_a_timestep(tmp_path: Path) -> None:
    """Neither tensor by tensor, nor over all timesteps at once: loud timesteps count no more than quiet ones."""
    values = np.random.default_rng(8).standard_normal((8, T, P))
    loud = values * np.array([100.0, 1.0, 0.01])[:, None] * np.exp(np.arange(8.0))[:, None, None]
    for method in ("dmin", "dmin_kernel", "dmin_renorm", "dtrak_unit", "retrac_final"):
        plain = run(method, tmp_path / method / "plain", values[:4], values)
        scaled = run(method, tmp_path / method / "loud", loud[:4], loud)
        np.testing.assert_allclose(scaled, plain, atol=2e-3 * np.abs(plain).max())


@pytest.mark.parametrize("method", ["datainf", "lissa_gram"])
def test_damping_shrinks_scores_and_keeps_their_sign(method: str, tmp_path: Path) -> None:
    """The published code subtracts LiSSA's damping and returns DataInf's negative; neither is done here."""
    values = np.random.default_rng(9).standard_normal((20, T, P))
    train, asked = rows(tmp_path, "t", values), rows(tmp_path, "q", values[:3])
    own = [
        np.diagonal(METHODS[method].scores(asked, train, options(damping=damping, lissa_iterations=500)))
        for damping in (0.1, 1.0, 10.0)
    ]
    assert (own[0] > own[1]).all() and (own[1] > own[2]).all() and (own[2] > 0).all()


def test_published_step_of_lissa_is_refused_where_it_diverges(tmp_path: Path) -> None:
    values = np.random.default_rng(10).standard_normal((20, T, P))
    # The largest eigenvalue of H is above 2 for the first, below it for the second.
    large, small = rows(tmp_path / "a", "t", 5 * values), rows(tmp_path / "b", "t", 0.05 * values)
    with pytest.raises(UserError, match=r"^lissa_alpha 1 makes lissa_gram diverge on tensor 'weight'; set it below "):
        METHODS["lissa_gram"].scores(large, large, options(lissa_alpha=1))
    assert np.isfinite(METHODS["lissa_gram"].scores(small, small, options(lissa_alpha=1))).all()


def test_every_method_has_its_bound() -> None:
    assert set(AGREEMENT) == set(METHODS_ON_GRADIENTS)


@pytest.mark.parametrize("method", [name for name in METHODS_ON_GRADIENTS if METHODS[name].inputs == "gradients"])
def test_methods_that_are_linear_are_those_that_say_so(method: str, tmp_path: Path) -> None:
    """Halves of gradients, held at the norms of the wholes, score halves that sum."""
    if METHODS[method].entry.learns or METHODS[method].entry.caches[1] in ("lissa", "journey", "loss_blocks"):
        assert not METHODS[method].entry.linear
        return
    generator = np.random.default_rng(3)
    sides = {name: generator.standard_normal((n, 3, 48)) + 1 for name, n in (("queries", 4), ("train", 9))}
    read = {name: rows(tmp_path, name, values, timesteps=[9, 5, 1]) for name, values in sides.items()}
    given = options(relative_lambda=0.1)
    whole = METHODS[method].run(read["queries"], read["train"], given, {})[0]

    def additive(side: str) -> bool:
        total = np.zeros_like(whole, dtype=float)
        share = generator.uniform(size=(1, 1, 48)).astype(np.float32)
        for part in (share, 1 - share):
            held = HeldRows(read[side].ids, read[side].metadata, read[side].all() * part, read[side].norms)
            total += METHODS[method].run(*{**read, side: held}.values(), given, {})[0]
        return bool(np.allclose(total, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max()))

    assert additive("queries") == ("queries" in METHODS[method].entry.linear)
    if "train" in METHODS[method].entry.linear:
        assert additive("train")
