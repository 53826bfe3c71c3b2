"""DMin's scores against plain loops, and the tests that a gradient of itself must pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import CACHE_DIM, compress_shards, write_gradients
from tiny_pipeline import TIMESTEPS, gradient_config, make_shard, random_samples

from dmin.attribution import gradient_rows
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.dmin import dmin_scores
from dmin.gradients.shard import Shard
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json

P, T, N, M = 100, 3, 11, 4


def _gradients(count: int, seed: int, parameters: int = P) -> np.ndarray:
    generator = np.random.default_rng(seed)
    # Norms over four decades, as timesteps have them.
    scale = 10.0 ** generator.uniform(-2, 2, (count, T, 1))
    return (generator.standard_normal((count, T, parameters)) * scale).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Two training shards and one query shard."""
    train, queries = _gradients(N, 0), _gradients(M, 1)
    shards = [
        write_gradients(tmp_path / "train0.safetensors", [f"a/{n}" for n in range(6)], train[:6]),
        write_gradients(tmp_path / "train1.safetensors", [f"a/{n}" for n in range(6, N)], train[6:]),
    ]
    return shards, [write_gradients(tmp_path / "queries.safetensors", [f"q/{n}" for n in range(M)], queries)]


def _rows(files: tuple[list[Path], list[Path]], width: int | None, folder: Path) -> tuple[GradientRows, GradientRows]:
    """Return the queries and the training samples at a width, None for the uncompressed ones."""
    train, queries = (
        GradientRows(shards, None if width is None else compress_shards(shards, width, folder / f"{name}.npy"))
        for name, shards in zip(("train", "queries"), files, strict=True)
    )
    return queries, train


def _loop(files: tuple[list[Path], list[Path]], width: int | None, normalise: bool) -> np.ndarray:
    """Return the scores by plain loops over pairs and timesteps."""
    sides = []
    for shards in files:
        rows = [Shard(path).read("raw" if width is None else "sketch").astype(np.float64) for path in shards]
        values = np.concatenate(rows)
        if width is not None:
            group = CACHE_DIM // width
            values = np.stack([values[..., cell * group : (cell + 1) * group].sum(-1) for cell in range(width)], -1)
        norms = np.concatenate([Shard(path).read("norm").astype(np.float64) for path in shards])
        sides.append(values if normalise else values * norms[..., None])
    train, queries = sides
    scores = np.zeros((len(queries), len(train)))
    for q, query in enumerate(queries):
        for i, sample in enumerate(train):
            for t in range(T):
                scores[q, i] += float(query[t] @ sample[t])
    return scores


@pytest.mark.parametrize("width", [None, CACHE_DIM, 8])
@pytest.mark.parametrize("normalise", [True, False])
def test_scores_equal_a_loop(
    files: tuple[list[Path], list[Path]], tmp_path: Path, width: int | None, normalise: bool
) -> None:
    scores = dmin_scores(*_rows(files, width, tmp_path), normalise)
    assert scores.shape == (M, N) and scores.dtype == np.float32
    expected = _loop(files, width, normalise)
    # A compressed array is rounded to fp16 once more.
    tolerance = 1e-5 if width is None else 2e-3
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_unnormalised_scores_are_dot_products_of_the_gradients(
    files: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    scores = dmin_scores(*_rows(files, None, tmp_path), normalise=False)
    expected = np.einsum("qtp,itp->qi", _gradients(M, 1).astype(np.float64), _gradients(N, 0).astype(np.float64))
    np.testing.assert_allclose(scores, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("normalise", [True, False])
def test_blocks_do_not_change_scores(
    files: tuple[list[Path], list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int | None,
    normalise: bool,
) -> None:
    rows = _rows(files, width, tmp_path)
    scores = dmin_scores(*rows, normalise)
    for size in (1, 4 * T * (width or P) * 4):
        monkeypatch.setattr(gradient_rows, "BLOCK_BYTES", size)
        assert len(list(rows[1].blocks())) > 2
        np.testing.assert_allclose(dmin_scores(*rows, normalise), scores, atol=1e-6 * np.abs(scores).max())


def test_scores_are_symmetric_and_bounded(files: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    queries, train = _rows(files, None, tmp_path)
    scores = dmin_scores(queries, train, normalise=True)
    np.testing.assert_allclose(dmin_scores(train, queries, normalise=True).T, scores, atol=1e-6)
    assert np.abs(scores).max() <= T * 1.001


@pytest.mark.parametrize("width", [256, 64])
def test_compressed_self_score_is_the_number_of_timesteps(tmp_path: Path, width: int) -> None:
    gradients = _gradients(40, 2, parameters=5000)
    own = [7, 31]
    settings = {"cache_dim": 256}
    train = [write_gradients(tmp_path / "t.safetensors", [f"a/{n}" for n in range(40)], gradients, **settings)]
    # The loss scale of a query must not matter.
    queries = [write_gradients(tmp_path / "q.safetensors", ["q/7", "q/31"], 5 * gradients[own], **settings)]
    scores = dmin_scores(*_rows((train, queries), width, tmp_path), normalise=True)
    assert scores.argmax(1).tolist() == own
    assert np.abs(scores[[0, 1], own] / T - 1).max() < 3 * (2 / width) ** 0.5
    exact = dmin_scores(GradientRows(queries, None), GradientRows(train, None), normalise=True)
    np.testing.assert_allclose(exact[[0, 1], own], T, rtol=1e-3)
    # The sketch keeps the other scores to its standard error.
    assert np.abs(scores - exact).mean() < 2 * (T / width) ** 0.5


def test_planted_duplicates_fill_the_top(tmp_path: Path) -> None:
    gradients = _gradients(60, 3)
    planted = [4, 17, 18, 42, 59]
    gradients[planted] = gradients[4]
    train = [write_gradients(tmp_path / "t.safetensors", [f"a/{n}" for n in range(60)], gradients)]
    queries = [write_gradients(tmp_path / "q.safetensors", ["q/0"], gradients[4:5])]
    for width in (None, CACHE_DIM):
        scores = dmin_scores(*_rows((train, queries), width, tmp_path), normalise=True)
        assert sorted(np.argsort(-scores[0], kind="stable")[: len(planted)].tolist()) == planted


def test_a_training_image_as_query_finds_itself_and_its_copy(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    samples = random_samples(6)
    samples.latents[5] = samples.latents[2]
    samples.conditioning["prompt_embeds"][5] = samples.conditioning["prompt_embeds"][2]
    samples.save(tmp_path / "train.safetensors")
    one = slice(2, 3)
    query = replace(
        samples,
        ids=["query/a/0000"],
        stored=samples.latents[one],
        conditioning={name: value[one] for name, value in samples.conditioning.items()},
    )
    query.save(tmp_path / "query.safetensors")
    config = gradient_config(noise={"policy": "shared", "seed": 3})
    train, queries = (
        make_shard(tmp_path / name, tiny_base, tiny_adapter, tmp_path / f"{name}.safetensors", config, 0, count)
        for name, count in (("train", 6), ("query", 1))
    )
    scores = dmin_scores(GradientRows([queries.path], None), GradientRows([train.path], None), normalise=True)[0]
    steps = len(TIMESTEPS)
    np.testing.assert_allclose(scores[[2, 5]], steps, rtol=1e-3)
    assert np.delete(scores, [2, 5]).max() < 0.99 * steps

    sketches = [
        compress_shards([shard.path], 1024, tmp_path / f"{name}.npy")
        for name, shard in (("train", train), ("query", queries))
    ]
    compressed = dmin_scores(
        GradientRows([queries.path], sketches[1]), GradientRows([train.path], sketches[0]), normalise=True
    )[0]
    assert set(np.argsort(-compressed)[:2].tolist()) == {2, 5}
    assert np.abs(compressed[[2, 5]] / steps - 1).max() < 3 * (2 / 1024) ** 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise", {"policy": "shared", "seed": 4}),
        ("timesteps", [900, 500, 99]),
        ("model", "other"),
        ("sketch_seed", 6),
        ("precision", "bfloat16"),
    ],
)
def test_sides_of_different_settings_are_refused_by_field(tmp_path: Path, field: str, value: Any) -> None:
    train = write_gradients(tmp_path / "t.safetensors", ["a/0"], _gradients(1, 0))
    queries = write_gradients(tmp_path / "q.safetensors", ["q/0"], _gradients(1, 1), **{field: value})
    with pytest.raises(UserError, match=f"'query gradients' and 'training gradients' differ in {field} "):
        dmin_scores(GradientRows([queries], None), GradientRows([train], None), normalise=True)


def test_sides_of_different_widths_are_refused(files: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    queries, _ = _rows(files, 8, tmp_path)
    _, train = _rows(files, 16, tmp_path)
    with pytest.raises(UserError, match=r"differ in width \(8 against 16\)"):
        dmin_scores(queries, train, normalise=True)


def test_stale_and_torn_sketches_are_refused(files: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    shards, _ = files
    sketch = compress_shards(shards, 8, tmp_path / "train.npy")
    description = read_json(sketch.with_suffix(".json"))
    with pytest.raises(UserError, match=r"train\.npy' holds other samples than its shards"):
        GradientRows(shards[:1], sketch)
    sketch.with_suffix(".json").write_text(json.dumps({**description, "sketch_seed": 6}))
    with pytest.raises(UserError, match=r"train\.npy' and '.*train0\.safetensors' differ in sketch_seed"):
        GradientRows(shards, sketch)
    sketch.with_suffix(".json").write_text(json.dumps(description))
    data = sketch.read_bytes()
    for keep in (0, 40, 200, -1):
        sketch.write_bytes(data[:keep])
        with pytest.raises(UserError, match=r"Sketch '.*train\.npy' is torn"):
            GradientRows(shards, sketch)


def test_rows_keep_the_order_of_the_shards(files: tuple[list[Path], list[Path]]) -> None:
    rows = GradientRows(files[0][::-1], None)
    assert rows.ids == [f"a/{n}" for n in (*range(6, N), *range(6))]
    np.testing.assert_array_equal(rows.norms[:5], Shard(files[0][1]).read("norm"))
    np.testing.assert_array_equal(rows.all()[5:], Shard(files[0][0]).read("raw").astype(np.float32))
