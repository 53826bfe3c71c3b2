"""Maps: the axes of some training images, and all of them placed on these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricated import write_gradients

from dmin.attribution.gradient_rows import GradientRows
from dmin.figures import projection
from dmin.figures.projection import Projection, project_features, project_gradients


def places(found: Projection) -> dict[str, tuple[float, ...]]:
    return dict(zip(found.train, map(tuple, found.train_places.tolist()), strict=True))


def test_more_images_are_placed_on_the_axes_of_those_shown(tmp_path: Path) -> None:
    gradients = np.random.default_rng(0).normal(size=(14, 3, 40)) * np.linspace(3, 0.1, 40)
    ids = [f"s{number}" for number in range(12)]
    queries = GradientRows([write_gradients(tmp_path / "queries.safetensors", ["q0", "q1"], gradients[12:])], None)
    train = GradientRows([write_gradients(tmp_path / "train.safetensors", ids, gradients[:12])], None)
    alone = project_gradients(train, queries, ids[:7], ids[:7])
    whole = project_gradients(train, queries, ids[:7], ids)
    assert alone.train == ids[:7] and sorted(whole.train) == sorted(ids)
    assert {name: places(whole)[name] for name in ids[:7]} == places(alone)
    assert alone.explained == whole.explained and (alone.query_places == whole.query_places).all()
    # The mean of the images with the axes lies in the middle, and those beyond are elsewhere.
    assert np.abs(alone.train_places.mean(axis=0)).max() < 1e-5
    rows = train.all().mean(axis=1)
    mean, axes, _ = projection.principal_axes(rows[:7])
    assert np.allclose(places(whole)["s11"], (rows[11] - mean) @ axes.T, atol=1e-6)


def test_features_are_placed_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(1).normal(size=(11, 6)).astype(np.float32)
    ids = [f"s{number}" for number in range(11)]
    whole = places(project_features(features, ids, ids[2:6], ids))
    monkeypatch.setattr(projection, "_AT_ONCE", 2)
    parted = places(project_features(features, ids, ids[2:6], ids))
    assert whole.keys() == parted.keys() == set(ids)
    assert np.allclose([whole[name] for name in ids], [parted[name] for name in ids], atol=1e-6)
