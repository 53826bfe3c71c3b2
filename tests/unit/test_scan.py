"""Streamed products and the exact scan against the whole matrix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dmin.attribution.ranking import rank_top
from dmin.gradients import stream
from dmin.gradients.stream import stream_products
from dmin.retrieval.scan import scan
from dmin.runtime.errors import UserError

N, Q, T, V = 257, 5, 3, 16


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).standard_normal((N, T, V)).astype(np.float16)
    rows[100:110] = rows[7]
    np.save(tmp_path / "store.npy", rows)
    return tmp_path / "store.npy"


@pytest.fixture
def queries() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((Q, T, V)).astype(np.float16)


@pytest.fixture(params=[1, 7 * T * V * 2, 2**25])
def span(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Spans of one row, of seven, of all; tiles of 16 rows."""
    monkeypatch.setattr(stream, "SPAN_BYTES", request.param)
    monkeypatch.setattr(stream, "TORCH_TILE", 16 * T * V)
    return request.param


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("large", [0, 2**30])
def test_products_are_those_of_the_matrix(
    store: Path, queries: np.ndarray, span: int, threads: int, mapped: bool, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LARGE_BYTES", large)
    rows = np.load(store, mmap_mode="r" if mapped else None)
    wide = queries.astype(np.float32).reshape(Q, -1)
    found = list(stream_products(rows, wide, threads))
    assert [part.start for part, _ in found] == [0, *(part.stop for part, _ in found[:-1])]
    products = np.concatenate([values for _, values in found], axis=1)
    assert products.dtype == np.float32
    expected = wide.astype(np.float64) @ np.load(store).astype(np.float64).reshape(N, -1).T
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("top_k", [1, 20, N])
def test_scan_ranks_as_the_matrix_does(store: Path, queries: np.ndarray, span: int, top_k: int) -> None:
    rows = np.load(store, mmap_mode="r")
    order, values = scan(rows, queries, top_k, threads=2)
    assert order.shape == values.shape == (Q, top_k)
    parts = stream_products(np.load(store), queries.astype(np.float32).reshape(Q, -1))
    whole = np.concatenate([values for _, values in parts], axis=1)
    names, ids = [f"q{n}" for n in range(Q)], [str(n) for n in range(N)]
    expected = rank_top(whole, names, ids, dict.fromkeys([*names, *ids], ""), top_k)
    assert [str(row) for row in order.reshape(-1)] == expected["sample_id"].tolist()
    assert np.array_equal(values.reshape(-1), expected["score"])


@pytest.mark.parametrize("large", [0, 2**30])
def test_ties_go_to_the_earlier_row(store: Path, span: int, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGE_BYTES", large)
    rows = np.load(store, mmap_mode="r")
    order, values = scan(rows, rows[7:8], 6)
    assert order.tolist() == [[7, 100, 101, 102, 103, 104]]
    assert len(set(values[0].tolist())) == 1


def test_part_of_a_mapped_store_is_that_part(store: Path, queries: np.ndarray) -> None:
    rows = np.load(store, mmap_mode="r")
    order, _ = scan(rows[50:], queries, 4)
    assert np.array_equal(order, scan(np.load(store)[50:], queries, 4)[0])


@pytest.mark.parametrize(("top_k", "message"), [(0, "top_k is 0"), (N + 1, f"top_k is {N + 1}")])
def test_lists_of_no_length_are_refused(store: Path, queries: np.ndarray, top_k: int, message: str) -> None:
    with pytest.raises(UserError, match=f"{message}, but the store has {N} rows"):
        scan(np.load(store), queries, top_k)


def test_other_lengths_and_bad_values_are_refused(store: Path, queries: np.ndarray) -> None:
    rows = np.load(store)
    with pytest.raises(UserError, match="Queries have 16 values each, stored rows 48"):
        scan(rows, queries[:, 0], 1)
    rows[30, 0, 0] = np.nan
    with pytest.raises(UserError, match="products that are not finite"):
        scan(rows, queries, 1)


def test_memory_stays_below_the_store(tmp_path: Path) -> None:
    """A store of 400 MB is scanned in a process whose memory grows by far less."""
    rows = np.lib.format.open_memmap(tmp_path / "store.npy", mode="w+", dtype=np.float16, shape=(50_000, 4096))
    rows.flush()
    del rows
    code = """
import re, sys
from pathlib import Path
import numpy as np
import torch
from dmin.retrieval.scan import scan

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024

store = np.load(sys.argv[1], mmap_mode="r")
scan(store[:100], np.ones((1, 4096)), 1)
before = peak()
assert scan(store, np.ones((1, 4096)), 100)[0][0].tolist() == list(range(100))
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store.npy")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150e6
