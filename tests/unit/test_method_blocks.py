"""DataInf and LiSSA per tensor: against loops and dense solves, in the order of their own definitions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated import write_gradients
from schema_defaults import options
from tiny_pipeline import gradient_config, make_shard

from dmin.attribution.blocks import TensorProducts, tensor_products
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.datainf import mean_of_inverses
from dmin.attribution.methods.lissa_gram import neumann_series
from dmin.attribution.registry import METHODS
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.runtime.errors import UserError

T, P = 3, 48
BLOCKS = [["a", 0, 10, 10], ["b", 10, 14, 14], ["c", 24, 24, 24]]


def make_rows(folder: Path, name: str, values: np.ndarray) -> GradientRows:
    """Cache gradients ``[n, T, P]`` of three tensors, uncompressed."""
    ids = [f"{name}/{number}" for number in range(len(values))]
    return GradientRows([write_gradients(folder / f"{name}.safetensors", ids, values, blocks=BLOCKS)], None)


def gradients(count: int, seed: int) -> np.ndarray:
    """Return random gradients whose tensors differ a hundredfold in scale."""
    scale = np.concatenate([np.full(10, 1.0), np.full(14, 0.1), np.full(24, 0.01)])
    return np.random.default_rng(seed).standard_normal((count, T, P)) * scale


def tensors(rows: GradientRows) -> list[np.ndarray]:
    """Return each tensor's gradients, timesteps concatenated, ``[n, T * size]`` in float64."""
    raw = rows.all().astype(np.float64) * rows.norms[:, :, None].astype(np.float64)
    return [raw[:, :, start : start + width].reshape(len(raw), -1) for _, start, width, _ in BLOCKS]


def dense(queries: GradientRows, train: GradientRows, kind: str, multiple: float = 0.1) -> np.ndarray:
    """Return the scores by loops over samples (``datainf``) or by dense inverses (``exact``), tensor by tensor."""
    total = np.zeros((len(queries.ids), len(train.ids)))
    for v, g in zip(tensors(queries), tensors(train), strict=True):
        penalty = multiple * (g**2).mean()
        inverse = np.zeros((g.shape[1], g.shape[1]))
        if kind == "exact":
            inverse = np.linalg.inv(g.T @ g / len(g) + penalty * np.eye(g.shape[1]))
        else:
            for row in g:
                inverse += np.linalg.inv(np.outer(row, row) + penalty * np.eye(g.shape[1])) / len(g)
        total += v @ inverse @ g.T
    return total


@pytest.fixture
def sides(tmp_path: Path) -> tuple[GradientRows, GradientRows]:
    return make_rows(tmp_path, "q", gradients(4, 1)), make_rows(tmp_path, "t", gradients(20, 0))


def test_datainf_equals_the_mean_of_inverses(sides: tuple[GradientRows, GradientRows]) -> None:
    scores = METHODS["datainf"].scores(*sides, options())
    expected = dense(*sides, "datainf")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    other = METHODS["datainf"].scores(*sides, options(damping=0.5))
    np.testing.assert_allclose(other, dense(*sides, "datainf", 0.5), rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_closed_form_equals_loops_in_double_precision() -> None:
    generator = np.random.default_rng(3)
    g, v, penalty = generator.standard_normal((30, 12)), generator.standard_normal((5, 12)), 0.2
    inverse = sum(np.linalg.inv(np.outer(row, row) + penalty * np.eye(12)) for row in g) / len(g)
    closed = mean_of_inverses(TensorProducts("a", v @ g.T, g @ g.T, penalty))
    np.testing.assert_allclose(closed, v @ inverse @ g.T, rtol=1e-8, atol=1e-8)


def test_neumann_series_equals_the_recursion_on_vectors_and_converges() -> None:
    generator = np.random.default_rng(4)
    g, v, penalty = generator.standard_normal((30, 12)), generator.standard_normal((5, 12)), 0.2
    hessian = g.T @ g / len(g) + penalty * np.eye(12)
    alpha = 1 / np.linalg.eigvalsh(hessian)[-1]
    part = TensorProducts("a", v @ g.T, g @ g.T, penalty)
    answer = v.copy()
    for _ in range(7):
        answer = v + answer - alpha * answer @ hessian
    np.testing.assert_allclose(neumann_series(part, 7, alpha), alpha * answer @ g.T, rtol=1e-8, atol=1e-8)
    exact = v @ np.linalg.inv(hessian) @ g.T
    np.testing.assert_allclose(neumann_series(part, 500, alpha), exact, rtol=1e-6, atol=1e-8)


def test_long_series_gives_the_exact_inverse(sides: tuple[GradientRows, GradientRows]) -> None:
    scores = METHODS["lissa_gram"].scores(*sides, options(lissa_iterations=3000))
    expected = dense(*sides, "exact")
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_diverging_step_is_refused_by_tensor(sides: tuple[GradientRows, GradientRows]) -> None:
    with pytest.raises(
        UserError, match=r"^lissa_alpha 1000 makes lissa_gram diverge on tensor 'a'; set it below .*\.$"
    ):
        METHODS["lissa_gram"].scores(*sides, options(lissa_alpha=1000))


@pytest.mark.parametrize("method", ["datainf", "lissa_gram"])
def test_planted_duplicates_come_first(tmp_path: Path, method: str) -> None:
    values = gradients(40, 0)
    values[5] = values[6]
    train = make_rows(tmp_path, "t", values)
    scores = METHODS[method].scores(make_rows(tmp_path, "q", values[5:6]), train, options())
    assert set(np.argsort(-scores[0])[:2]) == {5, 6} and scores[0, 5] > 0


@pytest.mark.parametrize("method", ["datainf", "lissa_gram"])
def test_one_scale_for_all_gradients_keeps_the_ranking(tmp_path: Path, method: str) -> None:
    train, queries = gradients(20, 0), gradients(3, 1)
    plain, scaled = (
        METHODS[method].scores(
            make_rows(tmp_path, f"q{c}", c * queries), make_rows(tmp_path, f"t{c}", c * train), options()
        )
        for c in (1, 32)
    )
    np.testing.assert_allclose(scaled, plain, rtol=2e-3, atol=1e-3 * np.abs(plain).max())


def test_a_tensor_without_gradients_has_no_say(tmp_path: Path) -> None:
    values, asked = gradients(10, 0), gradients(2, 1)
    values[..., 24:] = 0
    parts = list(tensor_products(make_rows(tmp_path, "q", asked), make_rows(tmp_path, "t", values), options()))
    assert [part.name for part in parts] == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"damping": 0}, r"^damping is 0; set it to a positive number, such as 0\.1\.$"),
        ({"lissa_alpha": "fast"}, r"^lissa_alpha is 'fast'; set it to auto or to a positive number\.$"),
    ],
)
def test_settings_out_of_range_are_refused(
    sides: tuple[GradientRows, GradientRows], settings: Mapping[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        METHODS["lissa_gram"].scores(*sides, options(**settings))


def test_a_cache_without_tensors_is_refused(tmp_path: Path) -> None:
    rows = GradientRows([write_gradients(tmp_path / "a.safetensors", ["a/0", "a/1"], gradients(2, 0))], None)
    with pytest.raises(UserError, match=r"holds no sketch per tensor; score this method from the cache loss_blocks\.$"):
        METHODS["datainf"].scores(rows, rows, options())


def test_cells_are_shared_out_by_size_and_small_tensors_are_exact() -> None:
    sketch = BlockSketch({"a": 5, "b": 400, "c": 1000, "d": 16}, 300, 1)
    assert [block.size for block in sketch.blocks] == [5, 400, 1000, 16]
    widths = [block.width for block in sketch.blocks]
    assert widths[0] == 5 and widths[3] == 16 and 16 < widths[1] < widths[2] and sum(widths) <= 300
    starts = [block.start for block in sketch.blocks]
    assert starts == [0, *np.cumsum(widths)[:-1].tolist()]
    values = torch.randn(3, 1421, generator=torch.Generator().manual_seed(0))
    sums = sketch.new_sums(3)
    for offset, size in ((405, 1000), (0, 5), (1405, 16), (5, 400)):
        sums.add(offset, values[:, offset : offset + size])
    cells = sums.collect()
    assert cells.shape == (3, 300) and torch.equal(cells[:, :5], values[:, :5])
    assert torch.equal(cells[:, starts[3] : starts[3] + 16], values[:, 1405:])
    exact = BlockSketch({"a": 5, "b": 400, "c": 1000, "d": 16}, 2000, 1).new_sums(3)
    for offset, size in ((0, 5), (5, 400), (405, 1000), (1405, 16)):
        exact.add(offset, values[:, offset : offset + size])
    assert torch.equal(exact.collect()[:, :1421], values) and not exact.collect()[:, 1421:].any()


def test_inner_products_survive_tensor_by_tensor() -> None:
    sizes = {"a": 300, "b": 700}
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(1, 1000, generator=generator)
    right = left + torch.randn(1, 1000, generator=generator)
    errors = []
    for seed in range(200):
        sketch = BlockSketch(sizes, 250, seed)
        cells = []
        for values in (left, right):
            sums = sketch.new_sums(1)
            sums.add(0, values[:, :300])
            sums.add(300, values[:, 300:])
            cells.append(sums.collect()[:, : sketch.blocks[0].width])
        errors.append(float((cells[0] * cells[1]).sum() - (left[:, :300] * right[:, :300]).sum()))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(UserError, match=r"block_dim 20 is too small for 2 tensors; set it to at least 32\.$"):
        BlockSketch({"a": 100, "b": 100}, 20, 1)


def test_cache_of_blocks_holds_the_gradients_of_the_cache_of_the_whole(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    shard = make_shard(tmp_path / "whole", tiny_base, tiny_adapter, tiny_samples, gradient_config())
    config = gradient_config(sketch_kind="blocks", cache_dim=shard.metadata["P"], keep_raw=False)
    blocks = make_shard(tmp_path / "blocks", tiny_base, tiny_adapter, tiny_samples, config)
    np.testing.assert_array_equal(blocks.read("sketch"), shard.read("raw"))
    np.testing.assert_array_equal(blocks.read("norm"), shard.read("norm"))
    names = [name for name, *_ in blocks.metadata["blocks"]]
    assert len(names) == len(set(names)) and all("lora_" in name for name in names)
    assert sum(size for *_, size in blocks.metadata["blocks"]) == shard.metadata["P"]
