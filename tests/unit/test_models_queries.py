"""Queries: which prompts are asked about, and images that can be generated again alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from icc import turned_profile
from PIL import Image
from tiny_pipeline import SIZE

from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import choose_prompts, generate_queries
from dmin.models.queries.images import import_queries
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.runs import OwnImages

TEST = pd.DataFrame(
    {
        "id": ["flags/1", "flags/2", "flags/3", "bricks/1"],
        "subset": ["flags", "flags", "flags", "bricks"],
        "prompt": ["a red flag", "a blue flag", "a green flag", "a blue brick"],
        "label": ["red", "blue", "green", None],
    }
)


def test_prompts_are_drawn_within_their_subset() -> None:
    queries = choose_prompts(TEST, ["flags", "bricks"], 2, seed=1)
    labels = dict(zip(TEST["prompt"], TEST["label"], strict=True))
    assert queries["label"].tolist()[:2] == [labels[prompt] for prompt in queries["prompt"][:2]]
    assert queries["label"].isna().tolist() == [False, False, True, True]
    assert list(queries.columns) == ["id", "subset", "prompt", "label", "seed"]
    assert queries["id"].tolist() == [f"query/{subset}/{n:04d}" for subset in ("flags", "bricks") for n in range(2)]
    flags, bricks = queries[:2], queries[2:]
    assert flags["prompt"].nunique() == 2 and set(flags["prompt"]) <= set(TEST["prompt"][:3])
    # One test row serves two queries, each with its own noise.
    assert bricks["prompt"].tolist() == ["a blue brick"] * 2
    assert queries["seed"].nunique() == 4


def test_prompts_do_not_depend_on_row_order_or_on_other_subsets() -> None:
    queries = choose_prompts(TEST, ["flags", "bricks"], 3, seed=1)
    shuffled = choose_prompts(TEST[::-1], ["bricks", "flags"], 3, seed=1)
    assert sorted(queries.to_dict("records"), key=str) == sorted(shuffled.to_dict("records"), key=str)
    assert not choose_prompts(TEST, ["flags", "bricks"], 3, seed=2)["seed"].equals(queries["seed"])


def test_subset_without_test_rows_is_named() -> None:
    with pytest.raises(UserError, match="Subset 'sprites' has no row in the test set"):
        choose_prompts(TEST, ["flags", "sprites"], 1, seed=1)


def test_images_are_the_same_in_any_batch(tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path) -> None:
    write_samples(TEST, tmp_path / "test.parquet")
    config = {"per_subset": 2, "seed": 1, "steps": 2, "guidance": 3.0, "size": SIZE}
    tables = []
    for batch in (1, 3):
        out = tmp_path / f"{batch}.parquet"
        model = TrainedModel(tiny_base, tiny_adapter)
        generate_queries(tmp_path / "test.parquet", model, config, ["flags", "bricks"], out, Pace("cpu", batch))
        tables.append(read_samples(out))
    alone, together = tables
    assert list(alone.columns) == ["id", "subset", "prompt", "label", "seed", "image"]
    pd.testing.assert_frame_equal(alone.drop(columns="image"), together.drop(columns="image"))
    left, right = (sample_pixels(table).astype(int) for table in tables)
    assert left.shape == (4, SIZE, SIZE, 3)
    assert np.abs(left - right).max() <= 1
    assert np.abs(left[2] - left[3]).max() > 1


def test_own_images_pass_the_same_door_and_colours_as_sources(tmp_path: Path) -> None:
    folder = tmp_path / "own[1]"
    folder.mkdir()
    Image.new("RGB", (SIZE, SIZE), (255, 0, 0)).save(folder / "a.png", icc_profile=turned_profile())
    images: OwnImages = {
        "path": str(folder),
        "revision": None,
        "split": "train",
        "image_column": "image",
        "caption_column": None,
        "rows": 1,
    }
    for profiles, colour in ((True, [0, 255, 0]), (False, [255, 0, 0])):
        import_queries(images, SIZE, tmp_path / "queries.parquet", profiles)
        queries = read_samples(tmp_path / "queries.parquet")
        assert np.abs(sample_pixels(queries)[0, 4, 4].astype(int) - colour).max() <= 3
        assert queries["image"][0]["path"] == "a.png" and queries["seed"].isna().all(), "a file has a name and no seed"
    (tmp_path / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "b.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"^Source 'queries': .*b\.png' lies outside the folder of its source"):
        import_queries(images | {"rows": 2}, SIZE, tmp_path / "queries.parquet")  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own[1]", "queries.parquet", "secret.png"]
