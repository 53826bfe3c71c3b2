"""The explorer of a large run is a file of bounded size that opens at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import Chromium, find_chromium
from explored_run import make_scores
from PIL import Image

from dmin.data.samples import write_samples
from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About, Tables
from dmin.figures.explorer_rankings import Ranked

TRAIN, QUERIES, SIDE, TOP = 5_000, 120, 128, 100


def photographs(seed: int, count: int) -> Iterator[dict[str, object]]:
    """Yield JPEG images with the slopes, edges and grain of photographs, all different."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).astype(np.int16) + random.integers(-6, 7, (SIDE, SIDE, 1), dtype=np.int16)
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
        yield {"bytes": buffer.getvalue(), "path": None}


def ranked(queries: pd.DataFrame, samples: pd.DataFrame, seed: int) -> Ranked:
    scores = make_scores(queries, samples, seed)
    order = np.argsort(-scores.values, axis=1)[:, :TOP]
    rows = np.repeat(np.arange(QUERIES), TOP)
    asked, listed = queries.iloc[rows], samples.iloc[order.ravel()]
    top = pd.DataFrame({"query_id": asked["id"].array, "query_subset": asked["subset"].array})
    top["rank"], top["score"] = np.tile(np.arange(1, TOP + 1), QUERIES), scores.values[rows, order.ravel()]
    top["sample_id"], top["sample_subset"] = listed["id"].array, listed["subset"].array
    return Ranked(top, scores)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    tables = Tables(folder / "queries.parquet", folder / "train.parquet")
    frames = []
    for seed, (path, count) in enumerate(((tables.queries, QUERIES), (tables.train, TRAIN))):
        frame = pd.DataFrame({"id": [f"{seed}/{number}" for number in range(count)]})
        frame["subset"] = [f"subset {number % 6}" for number in range(count)]
        frame["prompt"] = [
            f"a photograph of one of the things that there are, number {number}" for number in range(count)
        ]
        frame["seed"], frame["label"], frame["origin"] = (
            1,
            None,
            [f"images/{number:08d}.jpg" for number in range(count)],
        )
        frame["image"] = list(photographs(seed, count))
        write_samples(frame, path)
        frames.append(frame)
    rankings = {f"method {seed}": ranked(*frames, seed) for seed in range(5)}
    write_explorer(folder / "page.html", tables, rankings, About("large", {}, 24))
    return folder / "page.html"


def test_five_thousand_images_stay_under_25_megabytes(page: Path) -> None:
    assert 4_000_000 < page.stat().st_size < 25_000_000


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed: chromium, or google-chrome")
def test_it_opens_with_the_first_list(page: Path, tmp_path: Path) -> None:
    with Chromium(str(find_chromium()), tmp_path / "chromium") as browser:
        browser.open(page)
        assert browser.errors == [] and browser.run("$('results').querySelectorAll('.card').length") == 24
        # Of five rankings' scores, those of none are decoded before they are asked for.
        assert browser.run("arrays.size") == 1
