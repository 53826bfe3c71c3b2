"""The sketch: the paper's definition, its algebra and its statistics."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind
from dmin.gradients.sketches.fold import fold
from dmin.gradients.sketches.rolled import RolledSums
from dmin.runtime.errors import UserError

KINDS: tuple[SketchKind, ...] = ("permutation", "rolled")


def _rows(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def _pad(rows: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, -rows.shape[1] % width))


def _by_definition(rows: Tensor, width: int, seed: int) -> Tensor:
    """The paper's sketch, written out."""
    padded = _pad(rows, width)
    generator = torch.Generator().manual_seed(seed)
    permutation = torch.randperm(padded.shape[1], generator=generator)
    signs = torch.randint(0, 2, (padded.shape[1],), generator=generator, dtype=torch.int8) * 2 - 1
    return (padded * signs)[:, permutation].view(rows.shape[0], width, -1).sum(2)


@pytest.mark.parametrize(
    ("size", "width"), [(64, 64), (1000, 64), (33_000, 16_384), (140_000, 65_536), (140_001, 70_000)]
)
def test_permutation_sketch_equals_its_definition(size: int, width: int) -> None:
    rows = _rows(3, size)
    found = CountSketch(size, width, seed=5).apply(rows)
    torch.testing.assert_close(found, _by_definition(rows, width, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "width"), [(64, 64), (1000, 64), (5000, 16), (140_000, 65_536)])
def test_bucket_and_sign_describe_the_sketch(kind: SketchKind, size: int, width: int) -> None:
    sketch = CountSketch(size, width, seed=5, kind=kind)
    rows = _rows(2, size)
    assert set(sketch.sign.unique().tolist()) <= {-1.0, 1.0}
    described = torch.zeros(2, width).index_add_(1, sketch.bucket, rows * sketch.sign)
    torch.testing.assert_close(sketch.apply(rows), described, rtol=1e-5, atol=1e-5)
    occupied = torch.bincount(sketch.bucket, minlength=width)
    assert int(occupied.max()) <= -(-size // width)


@pytest.mark.parametrize("kind", KINDS)
def test_sketch_is_linear_and_commutes_with_normalising(kind: SketchKind) -> None:
    sketch = CountSketch(3000, 256, seed=1, kind=kind)
    first, second = _rows(1, 3000, 1), _rows(1, 3000, 2)
    torch.testing.assert_close(
        sketch.apply(2 * first - second), 2 * sketch.apply(first) - sketch.apply(second), rtol=1e-5, atol=1e-5
    )
    norm = first.norm()
    torch.testing.assert_close(sketch.apply(first) / norm, sketch.apply(first / norm), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_streaming_any_slices_in_any_order_gives_the_same_sketch(kind: SketchKind) -> None:
    size, rows = 40_000, _rows(3, 40_000)
    sketch = CountSketch(size, 4096, seed=2, kind=kind)
    cuts = [0, 1, 9, 4096, 4103, 21_000, 39_993, size]
    sink, raw = SketchSink(sketch, 3, keep_raw=True), RawSink(size, 3)
    for start, stop in reversed(list(pairwise(cuts))):
        sink.add(start, rows[:, start:stop])
        raw.add(start, rows[:, start:stop])
    unit, norm = sink.finish()
    torch.testing.assert_close(norm, rows.norm(dim=1))
    torch.testing.assert_close(unit, sketch.apply(rows) / rows.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sink.unit_gradient(), rows / rows.norm(dim=1, keepdim=True))
    assert torch.equal(raw.gradient, rows)


def test_whole_rows_at_once_equal_rows_in_turn() -> None:
    size, width = 700 * 16, 16
    sketch = CountSketch(size, width, seed=2, kind="rolled")
    rows = _rows(3, size)
    sums = sketch.new_sums(3)
    assert isinstance(sums, RolledSums)
    sums._add_runs(0, rows[:, : 5 * width])
    sums._add_rows(5, rows[:, 5 * width :])
    torch.testing.assert_close(sums.collect(), sketch.apply(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_global_generator_does_not(kind: SketchKind) -> None:
    rows = _rows(1, 500)
    state = torch.get_rng_state()
    first = CountSketch(500, 64, seed=3, kind=kind).apply(rows)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(CountSketch(500, 64, seed=3, kind=kind).apply(rows), first)
    assert not torch.equal(CountSketch(500, 64, seed=4, kind=kind).apply(rows), first)


def _correlated(size: int) -> tuple[Tensor, Tensor]:
    """Two unit vectors whose large entries come in clusters, as in gradients."""
    heavy = _rows(1, size // 50, 1).abs().pow(3).repeat_interleave(50, 1)
    first, second = heavy * _rows(1, size, 2), heavy * _rows(1, size, 3)
    second = second + 0.4 * first
    return first / first.norm(), second / second.norm()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v", [256, 64])
def test_dot_products_are_unbiased_with_the_expected_spread(kind: SketchKind, v: int) -> None:
    first, second = _correlated(10_000)
    true = float((first * second).sum())
    pair = torch.cat([first, second])
    found = []
    for seed in range(200):
        one, other = fold(CountSketch(10_000, 256, seed, kind=kind).apply(pair), v)
        found.append(float(one @ other))
    values = torch.tensor(found)
    spread = float(values.std())
    assert abs(float(values.mean()) - true) <= 3 * spread / math.sqrt(200)
    assert spread == pytest.approx(math.sqrt((1 + true**2) / v), rel=0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_folds_nest(kind: SketchKind) -> None:
    sketch = CountSketch(5000, 512, seed=0, kind=kind).apply(_rows(4, 5000)).view(2, 2, 512)
    assert fold(sketch, 512).shape == (2, 2, 512)
    torch.testing.assert_close(fold(fold(sketch, 128), 16), fold(sketch, 16), rtol=1e-5, atol=1e-5)


def test_a_fold_is_the_paper_sketch_of_the_smaller_width() -> None:
    rows = _rows(2, 4096)
    folded = fold(CountSketch(4096, 512, seed=7).apply(rows), 64)
    torch.testing.assert_close(folded, CountSketch(4096, 64, seed=7).apply(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_gradient_has_a_zero_sketch(kind: SketchKind) -> None:
    sink = SketchSink(CountSketch(100, 16, seed=0, kind=kind), 2, keep_raw=True)
    sink.add(0, torch.stack([torch.zeros(100), torch.ones(100)]))
    unit, norm = sink.finish()
    assert norm.tolist() == [0.0, 10.0]
    assert not unit[0].any()
    assert not sink.unit_gradient()[0].any()
    assert unit[1].isfinite().all()


def test_norm_survives_many_small_tensors() -> None:
    sink = SketchSink(CountSketch(20_000, 16, seed=0), 1)
    sink.add(0, torch.full((1, 1), 3e4))
    for offset in range(1, 20_000, 1):
        sink.add(offset, torch.ones(1, 1))
        if offset == 2_000:
            break
    assert float(sink.finish()[1]) == pytest.approx(math.sqrt(9e8 + 2000), rel=1e-7)


def test_permutation_stores_about_two_bytes_a_parameter() -> None:
    cells = CountSketch(200_000, 65_536, seed=0)._cells
    stored = sum(t.numel() * t.element_size() for t in vars(cells).values() if isinstance(t, Tensor))
    assert stored <= 2.2 * 200_000


def test_reading_raw_gradients_that_were_not_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_raw"):
        SketchSink(CountSketch(100, 16, seed=0), 2).unit_gradient()


@pytest.mark.parametrize(("width", "hint"), [(0, "is not positive"), (101, "larger than the 100 selected parameters")])
def test_impossible_width_is_told_in_one_sentence(width: int, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        CountSketch(100, width, seed=0)
    assert str(width) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("v", [0, 3, 32])
def test_impossible_fold_is_told_in_one_sentence(v: int) -> None:
    with pytest.raises(UserError, match=f"v={v} does not divide cache_dim 16"):
        fold(torch.zeros(2, 16), v)
