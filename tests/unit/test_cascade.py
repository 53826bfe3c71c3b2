"""Search in two stages: what it finds is what a full scan finds, and its certificate says how surely."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dmin.retrieval.cascade import CascadeFiles, Subspace, build_cascade
from dmin.retrieval.cascade_search import CascadeSearch, Certified
from dmin.retrieval.scan import scan
from dmin.retrieval.tails import chance_of_more, fit_tails
from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import PROVENANCE, provenance

T, V, DELTA = 3, 64, 1e-3
SETTINGS = {"timesteps": [900, 500, 100], "sketch_seed": 5, "v": V}


def correlated_rows(count: int, seed: int) -> np.ndarray:
    """Return unit rows ``[count, T * V]`` of clusters in a few directions, some of them all but equal to another."""
    draws = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((12, T * V)) * (np.arange(T * V) < 20)
    rows = centres[draws.integers(0, 12, count)] + 0.2 * draws.standard_normal((count, T * V))
    # Duplicates share what the subspace leaves out, so that the tails are heavy.
    pairs = count // 50
    rows[:pairs] = rows[count - pairs :] + 0.05 * draws.standard_normal((pairs, T * V))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_sketch(path: Path, prefix: str, rows: np.ndarray, **changes: object) -> Path:
    np.save(path, rows.reshape(len(rows), T, V).astype(np.float16))
    ids = [f"{prefix}/{number}" for number in range(len(rows))]
    made = provenance({}, {}, {"sketch": path})
    write_json({**SETTINGS, **changes, "ids": ids, PROVENANCE: made}, path.with_suffix(".json"))
    return path


def build(sketch: Path, rank: int = 16, seed: int = 0, name: str = "cascade") -> Path:
    index = sketch.with_name(f"{name}.safetensors")
    build_cascade(
        sketch, Subspace(rank, seed), CascadeFiles(index, index.with_suffix(".json"), index.with_name("m.json"))
    )
    return index


@pytest.fixture
def sketches(tmp_path: Path) -> tuple[Path, Path]:
    train = write_sketch(tmp_path / "train.npy", "t", correlated_rows(1500, 0))
    return train, write_sketch(tmp_path / "queries.npy", "q", correlated_rows(300, 1))


def misses(found: Certified, train: Path, queries: Path, top_k: int) -> int:
    """Return how many queries lack a row of their exact list."""
    exact, _ = scan(np.load(train), np.load(queries), top_k)
    return sum(set(left) != set(right) for left, right in zip(exact, found.labels, strict=True))


@pytest.mark.parametrize("top_k", [1, 20, 1500])
def test_lists_are_those_of_a_full_scan(sketches: tuple[Path, Path], top_k: int) -> None:
    train, queries = sketches
    found = CascadeSearch(build(train), train, queries).run(DELTA, top_k)
    _, products = scan(np.load(train), np.load(queries), top_k)
    assert misses(found, train, queries, top_k) == 0
    # Where the order differs, products do so in their last digits.
    np.testing.assert_allclose(found.scores, products, rtol=1e-5, atol=1e-6)
    assert (found.chances <= DELTA).all() and (found.looked >= min(1500, max(100, 2 * top_k))).all()


@pytest.mark.parametrize(("share", "rank"), [(0.12, 16), (0.3, 16), (0.0, 1), (1.0, 4)])
def test_many_equal_rows_and_few_directions_are_searched_too(tmp_path: Path, share: float, rank: int) -> None:
    rows = correlated_rows(600, 0)
    rows[: int(share * len(rows))] = rows[0]
    train = write_sketch(tmp_path / "train.npy", "t", rows)
    queries = write_sketch(tmp_path / "queries.npy", "q", correlated_rows(20, 1))
    found = CascadeSearch(build(train, rank), train, queries).run(DELTA, 10)
    _, products = scan(np.load(train), np.load(queries), 10)
    np.testing.assert_allclose(found.scores, products, rtol=1e-5, atol=1e-6)
    assert (found.chances <= DELTA).all()


def test_certificate_saves_most_rows_and_is_kept(tmp_path: Path) -> None:
    """Of 1,000 queries that nothing was fitted on, about one may miss a row at a chance of 1e-3 each."""
    train = write_sketch(tmp_path / "train.npy", "t", correlated_rows(3000, 2))
    queries = write_sketch(tmp_path / "queries.npy", "q", correlated_rows(1000, 3))
    found = CascadeSearch(build(train, rank=24), train, queries).run(DELTA, 20)
    assert misses(found, train, queries, 20) <= 4
    assert np.median(found.looked) < 1000


def test_loose_certificate_misses_about_as_often_as_it_says(tmp_path: Path) -> None:
    train = write_sketch(tmp_path / "train.npy", "t", correlated_rows(2000, 4))
    queries = write_sketch(tmp_path / "queries.npy", "q", correlated_rows(400, 5))
    search = CascadeSearch(build(train, rank=8), train, queries)
    loose, strict = search.run(0.5, 10), search.run(DELTA, 10)
    # The chance counts missed rows, of which a list may lack several: it is an upper bound of that of a wrong list.
    assert misses(loose, train, queries, 10) <= loose.chances.sum() + 3 * np.sqrt(loose.chances.sum())
    assert (loose.looked <= strict.looked).all() and loose.looked.sum() < strict.looked.sum()


def test_equal_rows_come_in_their_order(tmp_path: Path) -> None:
    rows = correlated_rows(300, 6)
    rows[7::50] = rows[7]
    train = write_sketch(tmp_path / "train.npy", "t", rows)
    queries = write_sketch(tmp_path / "queries.npy", "q", rows[7:8])
    found = CascadeSearch(build(train), train, queries).run(DELTA, 6)
    assert found.labels[0].tolist() == [7, 57, 107, 157, 207, 257]


def test_subspace_is_orthonormal_and_holds_the_leading_directions(sketches: tuple[Path, Path]) -> None:
    train, _ = sketches
    tensors = load_file(build(train, rank=8))
    rows = np.load(train).reshape(1500, -1).astype(np.float64)
    basis = tensors["basis"].astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-5)
    best = np.square(np.linalg.svd(rows, compute_uv=False))[:8].sum()
    assert np.square(rows @ basis).sum() >= 0.99 * best
    np.testing.assert_allclose(tensors["coarse"], rows @ basis, atol=1e-4)
    left_out = np.linalg.norm(rows - rows @ basis @ basis.T, axis=1)
    np.testing.assert_allclose(tensors["residual"], left_out, atol=1e-3)


def test_the_same_input_builds_the_same_bytes(sketches: tuple[Path, Path]) -> None:
    train, _ = sketches
    one = build(train, name="one").read_bytes()
    assert build(train, name="other").read_bytes() == one
    assert build(train, seed=1, name="seeded").read_bytes() != one


def test_tails_are_of_their_level_and_never_below_what_was_seen() -> None:
    draws = np.random.default_rng(0)
    coarse = draws.uniform(-1, 1, 200_000)
    # Pairs near in the subspace are near outside it.
    residual = np.clip(draws.standard_t(4, 200_000) * np.where(coarse > 0.9, 0.1, 0.01), -1, 1)
    edges, chances = fit_tails([(coarse[:150_000], residual[:150_000]), (coarse[150_000:], residual[150_000:])])
    assert len(edges) == 4 and (np.diff(chances) <= 1e-12).all() and (chances[:, -1] == 0).all()
    fresh = np.clip(draws.standard_t(4, 200_000) * 0.01, -1, 1)
    for bound in (0.0, 0.02, 0.05, 0.08):
        told = chance_of_more(edges, chances, np.array([-0.5]), np.array([bound]))[0]
        assert 0.8 * (fresh > bound).mean() <= told <= 2 * (fresh > bound).mean() + 2e-3
    near, far = chance_of_more(edges, chances, np.array([0.99, -0.5]), np.array([0.3, 0.3]))
    assert near > 100 * far


def test_few_rows_have_one_level() -> None:
    draws = np.random.default_rng(0)
    edges, chances = fit_tails([(draws.uniform(-1, 1, 90), draws.normal(0, 0.01, 90))])
    assert len(edges) == 0 and chances.shape[0] == 1


def test_what_cannot_be_searched_is_refused(sketches: tuple[Path, Path], tmp_path: Path) -> None:
    train, queries = sketches
    with pytest.raises(UserError, match=r"cascade\.rank is 193, but '.*train\.npy' holds 1500 rows of 192 values"):
        build(train, rank=193)
    index = build(train)
    with pytest.raises(UserError, match=r"top_k is 1501, but the training set has 1500 samples"):
        CascadeSearch(index, train, queries).run(DELTA, 1501)
    other = write_sketch(tmp_path / "other.npy", "q", correlated_rows(5, 1), timesteps=[900, 500, 99])
    with pytest.raises(UserError, match="differ in timesteps"):
        CascadeSearch(index, train, other)
    write_sketch(train, "t", correlated_rows(1500, 9))
    with pytest.raises(UserError, match="was made from another sketch"):
        CascadeSearch(index, train, queries)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    rows = correlated_rows(300, 0)
    rows[5, 3] = np.nan
    with pytest.raises(UserError, match="values that are not finite"):
        build(write_sketch(tmp_path / "train.npy", "t", rows))


def test_torn_index_is_named(sketches: tuple[Path, Path]) -> None:
    train, queries = sketches
    index = build(train)
    whole = index.read_bytes()
    for damaged in (whole[:100], whole[:-1], whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]):
        index.write_bytes(damaged)
        with pytest.raises(UserError, match=r"Index '.*cascade\.safetensors' is torn"):
            CascadeSearch(index, train, queries)
    assert json.loads(index.with_suffix(".json").read_text())["rank"] == 16
