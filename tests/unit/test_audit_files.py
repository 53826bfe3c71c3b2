"""The files that an audit's lists name: each stands for one image, whatever the layout of its source."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from explored_run import ExploredRun, make_queries, make_ranking, make_samples
from local_sources import cells, encoded, settings, table, write_folder

from dmin.audit.image_columns import read_files
from dmin.data.file_names import file_names
from dmin.data.source import fetch_source
from dmin.figures.blobs import PageBlobs
from dmin.figures.explorer_data import About, Beside, collect_explorer_data
from dmin.figures.explorer_space import PAGE


def files_of(folder: Path, ids: list[str], **sources: Path) -> list[str]:
    """Return the files of samples as an audit has them, of sources that are fetched."""
    fetched = {name: folder / f"{name}.parquet" for name in sources}
    for name, path in sources.items():
        fetch_source(name, settings(path, caption_column=None), fetched[name])
    return read_files(fetched, ids, 6)["file"].tolist()


@pytest.mark.fault(
    "images of one name in several folders of a source",
    "an audit's lists name each by its folder too, so that a trainer drops the right one",
)
def test_images_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", "cats/000.png", "dogs/000.png")
    assert files_of(tmp_path, ["pets/0", "pets/1"], pets=pets) == ["cats/000.png", "dogs/000.png"]


def test_images_of_one_name_in_several_sources_are_told_apart(tmp_path: Path) -> None:
    cats, dogs = (write_folder(tmp_path / name, "000.png") for name in ("cats", "dogs"))
    assert files_of(tmp_path, ["cats/0", "dogs/0"], cats=cats, dogs=dogs) == ["cats/000.png", "dogs/000.png"]
    assert files_of(tmp_path, ["dogs/0"], cats=cats, dogs=dogs) == ["000.png"], "no image of the other is trained on"


def test_noised_copy_has_no_file(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", "000.png", "001.png")
    assert files_of(tmp_path, ["pets/1+noise", "pets/1"], pets=pets) == ["pets/1+noise", "001.png"]


def test_paths_in_a_parquet_table_are_from_its_folder_on(tmp_path: Path) -> None:
    write_folder(tmp_path / "src", "cats/000.png", "dogs/000.png")
    listed = table(tmp_path / "src" / "list.parquet", ["cats/000.png", "dogs/../dogs/000.png"])
    assert files_of(tmp_path, ["pets/0", "pets/1"], pets=listed) == ["cats/000.png", "dogs/000.png"]


def test_names_that_several_images_share_are_ids(tmp_path: Path) -> None:
    stored = cells(encoded(1), encoded(2), encoded(3))
    stored[2]["path"] = "0.png"
    listed = table(tmp_path / "list.parquet", stored)
    assert files_of(tmp_path, ["pets/0", "pets/1"], pets=listed) == ["pets/0", "1.png"], "row 2 may be held out"


def test_names_of_files_are_unique() -> None:
    files = {"a/0": "x.png", "a/1": "y/x.png", "a/2": None, "a/3": "z.png", "a/4": "z.png", "b/0": "x.png"}
    names = file_names(files)
    assert list(names.values()) == ["a/x.png", "a/y/x.png", "a/2", "a/3", "a/4", "b/x.png"]
    assert list(file_names({"a/0": "x.png", "a/1": ""}).values()) == ["x.png", "a/1"]
    assert pd.Series(names).is_unique


def test_explorer_lists_files_as_the_audit_does(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(6)
    samples["id"] = ["a/0", "a/1", "a/1+noise", "b/0", "b/1", "a/0+noise"]
    samples["origin"] = ["x.png", "1", "a/1", "x.png", "cats/y.png", "a/0"]
    rankings = {"dmin": make_ranking(queries, samples, 3)}
    made = ExploredRun.write(tmp_path, queries, samples, rankings)
    data = collect_explorer_data(made.tables, rankings, About("r", {}, 3), Beside(), PageBlobs(PAGE))
    assert [row[5:] for row in data["samples"]] == [["a/x.png"], ["a/1"], [], ["b/x.png"], ["b/cats/y.png"], []]
