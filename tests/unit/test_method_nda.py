"""Patches of noised images against a plain loop over all pairs of patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from schema_defaults import options

from dmin.attribution import image_blocks
from dmin.attribution.methods import nda
from dmin.data.images import encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import write_samples
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_generator


def rows(folder: Path, name: str, pixels: np.ndarray) -> SampleRows:
    """Write images ``[n, h, w, 3]`` as a sample table."""
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{name}/{number}" for number in range(len(pixels))]
    write_samples(pd.DataFrame({"id": ids, "subset": "a", "image": images}), folder / f"{name}.parquet")
    return SampleRows(folder / f"{name}.parquet")


def run(folder: Path, queries: np.ndarray, train: np.ndarray, **changes: Any) -> np.ndarray:
    return nda.scores(rows(folder, "q", queries), rows(folder, "t", train), options(**changes), Pace("cpu", 4))


def draw(count: int, seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def patch_at(image: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    """Return the patch ``[3, size, size]`` around a place, 10 outside of the image ``[3, h, w]``."""
    found = np.full((3, size, size), 10.0)
    for down in range(size):
        for across in range(size):
            y, x = row + down - size // 2, column + across - size // 2
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                found[:, down, across] = image[:, y, x]
    return found


def test_signal_is_that_of_the_schedule() -> None:
    kept = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod
    assert [nda.signal(t) for t in (0, 100, 999)] == pytest.approx([kept[t].item() for t in (0, 100, 999)], rel=1e-4)


def test_scores_are_shares_of_the_weights_of_all_patches(tmp_path: Path) -> None:
    side, timestep, size = 4, 700, 3
    queries, train = draw(2, 0, side), draw(3, 1, side)
    kept = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod[timestep].item()
    noise = torch.randn((3, side, side), generator=derive_generator(9, "nda")).numpy()
    expected = np.zeros((2, 3))
    places = [(row, column) for row in range(side) for column in range(side)]
    for q, query in enumerate(queries.transpose(0, 3, 1, 2) / 127.5 - 1):
        noised = kept**0.5 * query + (1 - kept) ** 0.5 * noise
        for place in places:
            patch = patch_at(noised, *place, size)
            weights = np.zeros(3)
            for i, image in enumerate(train.transpose(0, 3, 1, 2) / 127.5 - 1):
                for other in places:
                    distance = ((patch - patch_at(kept**0.5 * image, *other, size)) ** 2).sum()
                    weights[i] += np.exp(-distance / (2 * (1 - kept)))
            expected[q] += weights / weights.sum() / len(places)
    found = run(tmp_path, queries, train, nda_timestep=timestep, nda_patch=size, seed=9)
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-4)
    assert np.allclose(found.sum(1), 1, atol=1e-5)


def test_blocks_do_not_change_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, train = draw(3, 0, 6), draw(7, 1, 6)
    whole = run(tmp_path / "a", queries, train)
    monkeypatch.setattr(image_blocks, "BLOCK_BYTES", 3 * 4 * 6 * 6 * 3)
    monkeypatch.setattr(nda, "PRODUCT_BYTES", 1)
    monkeypatch.setattr(nda, "KEPT_BYTES", 1)
    assert np.allclose(run(tmp_path / "b", queries, train), whole, atol=1e-6)


def test_a_moved_part_is_found_where_pixels_do_not_match(tmp_path: Path) -> None:
    train = draw(6, 2, 16)
    moved = np.roll(train[3:4], (4, 3), axis=(1, 2))
    found = run(tmp_path, moved, train, nda_patch=3)
    assert found[0].argmax() == 3 and found[0, 3] > 0.5


def test_large_images_are_averaged_down(tmp_path: Path) -> None:
    small, train = draw(1, 0, 8), draw(4, 1, 8)
    large, others = (side.repeat(4, 1).repeat(4, 2) for side in (small, train))
    found = run(tmp_path / "a", large, others, nda_side=8)
    assert np.allclose(found, run(tmp_path / "b", small, train, nda_side=8), atol=1e-4)
