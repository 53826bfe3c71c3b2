"""Folders that say how often training sees their images, as sd-scripts has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from local_sources import cells, encoded, fetched, refusal, settings, table, write_folder

from dmin.folders.count import count_rows
from dmin.runtime.errors import UserError
from dmin.settings.models import Dataset as DatasetSettings
from dmin.workflow.checks import check_dataset
from dmin.workflow.datasets import Dataset

DATASET: dict[str, Any] = {
    "size": 64, "seed": 0, "train_fraction": 0.1, "test_sources": [], "noise": {"fraction": 0, "std": 0.1},
    "classes": None, "convert_profiles": True, "bucket_step": None,
}  # fmt: skip


def dataset(source: dict[str, Any]) -> Dataset:
    """Return a data set of one source."""
    return Dataset("d", cast(DatasetSettings, {**DATASET, "sources": [source]}))


def test_folders_numbered_from_one_on_are_classes_unless_they_are_told_to_be_repeats(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "set", "1_cat/a.png", "2_dog/a.png", "3_fox/a.png")
    frame = fetched(tmp_path, settings(folder, label_column="label", caption_column=None))
    assert frame["repeats"].tolist() == [1, 1, 1] and frame["label"].tolist() == ["1_cat", "2_dog", "3_fox"]
    assert "the folders are numbered 1 to 3 and taken for classes; set repeats to folders" in caplog.text
    frame = fetched(tmp_path, settings(folder, label_column="label", repeats="folders"))
    assert frame["repeats"].tolist() == [1, 2, 3] and frame["label"].tolist() == ["cat", "dog", "fox"]


def test_folders_of_repeats(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "img", "10_red fox/a.png", "10_red fox/b.png", "2_dog/a.png")
    (folder / "10_red fox" / "a.txt").write_text("a fox")
    frame = fetched(tmp_path, settings(folder, label_column="label"))
    assert frame["repeats"].tolist() == [10, 10, 2]
    # As in sd-scripts, the words of the folder are the caption of images without one.
    assert frame["prompt"].tolist() == ["a fox", "red fox", "dog"]
    assert frame["label"].tolist() == ["red fox", "red fox", "dog"] and count_rows(folder, "train") == 3
    assert fetched(tmp_path, settings(folder, repeats=1))["repeats"].tolist() == [1, 1, 1]


@pytest.mark.fault("repeats asked of folders that have none", "refused; the image or the table is named")
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("loose", "the image 'c.png' lies in none; set it to a number, or keep every image in a folder such as 10_sub"),
        ("named", "the image 'dog/c.png' lies in none"),
        ("named/10_fox", "the image 'a.png' lies in none"),
        ("told", "'metadata.csv' is a table"),
        ("in.parquet", "'in.parquet' is a table"),
    ],
)
def test_repeats_of_folders_that_say_none_are_refused(tmp_path: Path, path: str, sentence: str) -> None:
    for name, other in (("loose", "c.png"), ("named", "dog/c.png"), ("told", "2_dog/b.png")):
        write_folder(tmp_path / name, "10_fox/a.png", other)
    (tmp_path / "told" / "metadata.csv").write_text("file_name\n10_fox/a.png\n")
    table(tmp_path / "in.parquet", cells(encoded()))
    source = settings(tmp_path / path, name="s", repeats="folders")
    assert f"repeats is folders, but {sentence}" in refusal(tmp_path, source)
    with pytest.raises(UserError) as caught:
        check_dataset(dataset(source))
    assert str(caught.value).startswith(f"datasets.d.sources 's': repeats is folders, but {sentence}")


def test_repeats_of_folders_are_none_on_the_hub(tmp_path: Path) -> None:
    source = settings("owner/images", name="s", repeats="folders", rows=5)
    with pytest.raises(UserError, match="'s': repeats is folders, but a data set on the hub has none; set it to a"):
        check_dataset(dataset(source))
    # What a folder says is taken, and what cannot be read is told where rows are counted.
    folder = write_folder(tmp_path / "img", "10_fox/a.png", "2_dog/a.png")
    for path, sentence in ((folder, "leaves the training or the test set of 2 rows empty"), (tmp_path, "has no fold")):
        source = settings(path, name="s", repeats="folders", split="train" if path == folder else "gone")
        with pytest.raises(UserError, match=sentence):
            check_dataset(dataset(source))


@pytest.mark.parametrize("other", ["dog/c.png", "c.png", "01_dog/c.png", "001.dog/c.png"])
def test_other_folders_are_no_repeats(tmp_path: Path, other: str) -> None:
    folder = write_folder(tmp_path / "img", "10_fox/a.png", other)
    frame = fetched(tmp_path, settings(folder, caption_column=None))
    assert frame["repeats"].tolist() == [1, 1]
