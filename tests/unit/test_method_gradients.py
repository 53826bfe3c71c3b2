"""The methods that read cached gradients, against plain loops and against exact influence on linear regression."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated import CACHE_DIM, UNSIGNED, compress_shards, write_gradients
from schema_defaults import options

from dmin.attribution import gradient_rows
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_seed

# What learns from subsets or reads a cache of its own shape has tests of its own.
GRADIENT_METHODS = sorted(
    name
    for name, method in METHODS.items()
    if method.inputs == "gradients"
    and not method.entry.learns
    and name not in ("datainf", "lissa_gram", "lissa", "weighted_tensors")
)
KERNEL_METHODS = ["trak", "relative_if", "renormalised_if", "dmin_kernel", "dtrak", "dtrak_unit", "journey_trak", "das"]
RIDGE = 0.3
T = 3
P = 48


def make_rows(
    folder: Path, name: str, gradients: np.ndarray, width: int | None = None, shards: int = 1
) -> GradientRows:
    """Cache gradients ``[n, T, P]`` in some shards and open them at a width, None for the uncompressed ones."""
    parts = np.array_split(np.arange(len(gradients)), shards)
    files = [
        write_gradients(folder / f"{name}{index}.safetensors", [f"{name}/{n}" for n in part], gradients[part])
        for index, part in enumerate(parts)
    ]
    return GradientRows(files, None if width is None else compress_shards(files, width, folder / f"{name}.npy"))


def run(method: str, queries: GradientRows, train: GradientRows, **settings: Any) -> np.ndarray:
    values = METHODS[method].scores(queries, train, options(**settings))
    assert values.shape == (len(queries.ids), len(train.ids)) and values.dtype == np.float32
    return values


def raw(rows: GradientRows) -> tuple[np.ndarray, np.ndarray]:
    """Return unit and raw gradients in float64."""
    unit = rows.all().astype(np.float64)
    return unit, unit * rows.norms[:, :, None]


def gradients(count: int, seed: int, spread: float = 0.5) -> np.ndarray:
    """Return random gradients whose norms differ and that share a part at every timestep."""
    generator = np.random.default_rng(seed)
    shared = np.random.default_rng(99).standard_normal((T, P))
    scale = np.exp(spread * generator.standard_normal((count, 1, 1)))
    return scale * (generator.standard_normal((count, T, P)) + 0.5 * shared)


def naive(method: str, queries: GradientRows, train: GradientRows, settings: Mapping[str, Any]) -> np.ndarray:
    """Return the scores by loops over pairs, solving every system directly.

    A scale or a curvature is applied before gradients are cached, so a scaled method does with them what its namesake
    does.
    """
    method = method.removesuffix("_scaled").removesuffix("_query").replace("ekfac", "dmin")
    (unit_q, raw_q), (unit_i, raw_i) = raw(queries), raw(train)
    if method == "dmin_scaled_shrunk":
        flat_q, flat_i = (side.reshape(len(side), -1) for side in (unit_q, unit_i))
        values, vectors = np.linalg.eigh(flat_i.T @ flat_i / len(flat_i))
        largest, taken = vectors[:, -16:], values[-16:] / (values[-16:] + 0.3 * values.sum())
        return flat_q @ (np.eye(len(values)) - (largest * taken) @ largest.T) @ flat_i.T
    mean_q, mean_i = raw_q.mean(1), raw_i.mean(1)
    centre = raw_i.mean(0)
    feature_q, feature_i = mean_q, mean_i
    if method in ("dmin_kernel", "dtrak_unit"):
        feature_q, feature_i = unit_q.reshape(len(unit_q), -1), unit_i.reshape(len(unit_i), -1)
    second = feature_i.T @ feature_i
    penalty = settings.get("relative_lambda", 0.1) * np.trace(second) / len(feature_i)
    inverse = np.linalg.inv(second + penalty * np.eye(len(second)))

    def cosine(left: np.ndarray, right: np.ndarray) -> float:
        return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))

    def trained_with(row: int, values: np.ndarray) -> np.ndarray:
        if settings.get("train_timestep") == "one":
            return values[row, derive_seed(settings["seed"], "train_timestep", train.ids[row]) % T]
        return values[row].mean(0)

    def pair(q: int, i: int) -> float:
        steps = range(T)
        solved = inverse @ feature_i[i]
        influence = float(feature_q[q] @ solved)
        return {
            "dmin": lambda: sum(float(unit_q[q, t] @ unit_i[i, t]) for t in steps),
            "dmin_no_norm": lambda: sum(float(raw_q[q, t] @ raw_i[i, t]) for t in steps),
            "dmin_renorm": lambda: sum(cosine(unit_q[q, t], unit_i[i, t]) for t in steps),
            "dmin_centred": lambda: sum(cosine(raw_q[q, t] - centre[t], raw_i[i, t] - centre[t]) for t in steps),
            "dmin_kernel": lambda: influence,
            "dtrak": lambda: influence,
            "dtrak_unit": lambda: influence,
            "journey_trak": lambda: sum(float(raw_q[q, t] @ solved) for t in steps),
            "grad_dot": lambda: float(mean_q[q] @ mean_i[i]),
            "grad_cos": lambda: cosine(mean_q[q], mean_i[i]),
            "tracin_final": lambda: float(mean_q[q] @ trained_with(i, raw_i)),
            "retrac_final": lambda: float(unit_q[q].mean(0) @ trained_with(i, unit_i)),
            "trak": lambda: influence,
            "das": lambda: (influence * train.errors[i].mean() / (1 - float(feature_i[i] @ solved))) ** 2,
            "relative_if": lambda: influence / float(np.linalg.norm(solved)),
            "renormalised_if": lambda: influence / float(np.linalg.norm(feature_i[i])),
        }[method]()

    return np.array([[pair(q, i) for i in range(len(unit_i))] for q in range(len(unit_q))])


@pytest.mark.parametrize("width", [None, 16])
@pytest.mark.parametrize(
    ("method", "settings"),
    [(method, {}) for method in GRADIENT_METHODS]
    + [(method, {"train_timestep": "one", "seed": 7}) for method in ("tracin_final", "retrac_final")]
    + [("trak", {"relative_lambda": 1e-3}), ("dmin_kernel", {"relative_lambda": 3.0})],
)
def test_scores_equal_loops(tmp_path: Path, method: str, settings: dict[str, Any], width: int | None) -> None:
    train = make_rows(tmp_path, "t", gradients(17, 0), width, shards=2)
    queries = make_rows(tmp_path, "q", gradients(4, 1), width)
    expected = naive(method, queries, train, settings)
    values = run(method, queries, train, **settings)
    np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("width", [None, 16])
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_blocks_do_not_change_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, width: int | None
) -> None:
    train = make_rows(tmp_path, "t", gradients(13, 0), width, shards=2)
    queries = make_rows(tmp_path, "q", gradients(3, 1), width)
    whole = run(method, queries, train)
    for size in (1, 4 * 4 * T * (width or P)):
        monkeypatch.setattr(gradient_rows, "BLOCK_BYTES", size)
        assert len(list(train.blocks())) > 2
        np.testing.assert_allclose(run(method, queries, train), whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("width", [None, CACHE_DIM])
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_exact_duplicates_fill_the_top(tmp_path: Path, method: str, width: int | None) -> None:
    values = gradients(60, 3, spread=0.0)
    planted = [4, 17, 18, 42]
    values[planted] = values[4]
    # The loss scale of a query must not matter.
    queries = make_rows(tmp_path, "q", 5 * values[4:5], width)
    scores = run(method, queries, make_rows(tmp_path, "t", values, width))
    assert sorted(np.argsort(-scores[0], kind="stable")[: len(planted)].tolist()) == planted


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_the_unit_of_the_loss_leaves_ranks(tmp_path: Path, method: str) -> None:
    train, queries = gradients(25, 0), gradients(3, 1)
    plain = run(method, make_rows(tmp_path, "q", queries), make_rows(tmp_path, "t", train))
    (tmp_path / "scaled").mkdir()
    scaled = run(
        method, make_rows(tmp_path / "scaled", "q", 64 * queries), make_rows(tmp_path / "scaled", "t", 64 * train)
    )
    np.testing.assert_array_equal(np.argsort(-scaled, kind="stable"), np.argsort(-plain, kind="stable"))


def test_centring_leaves_samples_without_a_gradient_at_zero(tmp_path: Path) -> None:
    train, queries = gradients(20, 0), gradients(3, 1)
    kept, beside = (
        run("dmin_centred", *(make_rows(tmp_path, name, np.concatenate(parts)) for name, parts in sides.items()))
        for sides in ({"q": [queries, more], "t": [train, more]} for more in (train[:0], 0 * train[:1]))
    )
    assert (beside[:, 20] == 0).all() and (beside[3] == 0).all(), "as what was skipped is stored"
    np.testing.assert_allclose(beside[:3, :20], kept, atol=1e-5)


def test_centring_removes_what_all_gradients_share(tmp_path: Path) -> None:
    offset = 2 * np.random.default_rng(5).standard_normal((T, P))
    train, queries = gradients(40, 0, spread=0.0), gradients(5, 1, spread=0.0)
    moved = {}
    for method in ("dmin", "dmin_centred"):
        plain, shifted = (
            run(method, make_rows(tmp_path, "q", queries + part), make_rows(tmp_path, "t", train + part))
            for part in (0, offset)
        )
        moved[method] = np.abs(shifted - plain).max()
    # The cache holds fp16.
    assert moved["dmin_centred"] < 0.01
    assert moved["dmin"] > 1


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_sample_without_direction_is_finite(tmp_path: Path, method: str) -> None:
    train = gradients(6, 0)
    train[:] = train[0]
    values = run(method, make_rows(tmp_path, "q", gradients(2, 1)), make_rows(tmp_path, "t", train))
    assert np.isfinite(values).all()


def test_renormalised_sketches_estimate_cosines_better() -> None:
    generator = np.random.default_rng(0)
    size, width = 1024, 64
    left, other = np.linalg.qr(generator.standard_normal((size, 2)))[0].T
    for rho in (0.3, 0.95):
        pair = np.stack([left, rho * left + np.sqrt(1 - rho**2) * other]).astype(np.float32)
        sketches = [CountSketch(size, width, seed).apply(torch.from_numpy(pair)).numpy() for seed in range(400)]
        plain = np.array([one @ two for one, two in sketches])
        cosine = np.array([one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in sketches])
        assert plain.std() == pytest.approx(np.sqrt((1 + rho**2) / width), rel=0.15)
        assert cosine.std() == pytest.approx((1 - rho**2) / np.sqrt(width), rel=0.15)
        assert abs(cosine.mean() - rho) < 4 * plain.std() / np.sqrt(len(plain))


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> tuple[GradientRows, GradientRows, np.ndarray]:
    """Queries, training samples and the exact change of each query's loss when a sample is left out.

    Each sample has one target per timestep; the loss is the mean squared error over them.
    """
    generator = np.random.default_rng(1)
    n, size = 600, 12
    truth = generator.standard_normal(size)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = generator.standard_normal((count, size)) * np.linspace(0.2, 2, size)
        common = 0.7 * generator.standard_normal((count, 1))
        return inputs, (inputs @ truth)[:, None] + common + 0.2 * generator.standard_normal((count, T))

    inputs, targets = draw(n)
    asked, answers = draw(20)

    def fit(keep: np.ndarray) -> np.ndarray:
        second = inputs[keep].T @ inputs[keep] + RIDGE * np.eye(size)
        return np.linalg.solve(second, inputs[keep].T @ targets[keep].mean(1))

    def loss(weights: np.ndarray) -> np.ndarray:
        return (((asked @ weights)[:, None] - answers) ** 2).mean(1)

    weights = fit(np.arange(n))
    change = np.stack([loss(fit(np.delete(np.arange(n), i))) - loss(weights) for i in range(n)], axis=1)
    folder = tmp_path_factory.mktemp("regression")
    rows = []
    for name, x, y in (("q", asked, answers), ("t", inputs, targets)):
        values = 2 * ((x @ weights)[:, None] - y)[:, :, None] * x[:, None]
        rows.append(make_rows(folder, name, np.pad(values, ((0, 0), (0, 0), (0, P - size)))))
    return rows[0], rows[1], change


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_scores_agree_with_leaving_a_sample_out(
    regression: tuple[GradientRows, GradientRows, np.ndarray], method: str
) -> None:
    queries, train, change = regression
    change = np.abs(change) if method in UNSIGNED else change
    scores = run(method, queries, train)
    correlations = [np.corrcoef(np.argsort(np.argsort([s, c])))[0, 1] for s, c in zip(scores, change, strict=True)]
    # A larger score is a proponent: without it the query's loss rises. Inputs of unequal variance are told apart by
    # what solves for curvature; unit gradients also lose the residual's size.
    exact = {
        "trak": 0.95, "dtrak": 0.95, "journey_trak": 0.95, "relative_if": 0.8, "renormalised_if": 0.8,
        "dmin_kernel": 0.7, "dtrak_unit": 0.7,
    }  # fmt: skip
    assert np.mean(correlations) > exact.get(method, 0.5)


def test_tracin_in_expectation_is_the_dot_product(tmp_path: Path) -> None:
    queries, train = make_rows(tmp_path, "q", gradients(3, 1)), make_rows(tmp_path, "t", gradients(9, 0))
    np.testing.assert_allclose(run("tracin_final", queries, train), run("grad_dot", queries, train), rtol=1e-5)


def test_unknown_training_timestep_is_refused(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, "t", gradients(3, 0))
    with pytest.raises(UserError, match="train_timestep is 'two'; set it to mean or one"):
        run("retrac_final", rows, rows, train_timestep="two")


@pytest.mark.parametrize("method", [method for method in GRADIENT_METHODS if method != "journey_trak"])
def test_sides_of_different_settings_are_refused(tmp_path: Path, method: str) -> None:
    train = make_rows(tmp_path, "t", gradients(4, 0))
    other = write_gradients(tmp_path / "other.safetensors", ["q/0"], gradients(1, 1), timesteps=[900, 500, 99])
    with pytest.raises(UserError, match="'query gradients' and 'training gradients' differ in timesteps "):
        METHODS[method].scores(GradientRows([other], None), train, options())


@pytest.mark.parametrize("method", KERNEL_METHODS)
def test_gradients_that_are_not_finite_are_refused(tmp_path: Path, method: str) -> None:
    values = gradients(4, 0)
    values[1, 0, 0] = np.nan
    train = make_rows(tmp_path, "t", values)
    with pytest.raises(UserError, match="is not finite; check the gradient cache's log"):
        METHODS[method].scores(make_rows(tmp_path, "q", gradients(1, 1)), train, options())
