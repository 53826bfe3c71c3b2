"""Rows are counted when the config is read, and what a data set without a test set cannot give is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from local_sources import cells, encoded, table, write_folder
from run_config import PROJECT, config

from dmin.runtime.errors import UserError
from dmin.workflow.job_contents import JobContents
from dmin.workflow.tables import Tables, read_tables

PROMPTS = {"source": "prompts", "prompts": ["a fox"]}


def local(*sources: dict[str, Any], queries: dict[str, Any] | None = None, **dataset: Any) -> dict[str, Any]:
    """Return a config of local sources whose run asks about prompts."""
    given = config(["dmin"], queries=queries or PROMPTS, influence={"methods": ["dmin"], "widths": [256], "top_k": 1})
    given["runs"]["r"]["evaluation"] = {"k": [1]}
    settings = {"noise": {"fraction": 0}, "train_fraction": 1, "sources": list(sources)}
    given["datasets"] = {"d": settings | dataset}
    given.pop("banks")
    return given


def opened(*sources: dict[str, Any], **changes: Any) -> Tables:
    return read_tables(local(*sources, **changes), PROJECT)


def test_rows_are_counted_when_the_config_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", *[f"{n}.png" for n in range(6)], "@eaDir/x.png")
    (folder / "0.txt").write_text("a fox")
    parquet = table(tmp_path / "in.parquet", cells(*[encoded()] * 7))
    (folder / "list.csv").write_text("file_name,text\n1.png,x\n2.png,y\n")
    paths = {"a": folder, "b": parquet, "c": folder / "list.csv"}
    sources = [{"name": name, "path": str(path)} for name, path in paths.items()]
    given = opened(*sources, {"name": "d", "path": str(folder), "rows": 3}, {"name": "e", "path": "owner/x", "rows": 4})
    dataset = given.datasets["d"]
    assert dataset.rows == {"a": 6, "b": 7, "c": 2, "d": 3, "e": 4}
    assert dataset.counts.train == dataset.counts.total == 22 == given.runs["r"].gradients.count("train")
    assert dataset.source("a")["rows"] == 6
    images = {"source": "images", "images": {"path": str(folder), "rows": None}}
    queries = opened(*sources, queries=images).runs["r"].queries
    assert queries.count == 6 == queries.images["rows"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"path": "owner/images"}, "has no rows, and 'owner/images' is on the hub, where none are counted; set rows."),
        ({"path": "in", "label_column": "label", "labels": ["a"]}, "has labels, but no rows"),
        ({"path": "empty"}, "'empty' cannot be read: it holds neither images nor parquet files; set path to an intact"),
        ({"path": "film"}, "it holds no images, but the film 'a.mp4'; store its pictures as images"),
        ({"path": "in", "split": "gone"}, "it has no folder 'gone'; set split to the name of one"),
        ({"path": "torn.parquet"}, "it is no whole parquet file; set path"),
        ({"path": "list.json"}, "'list.json' has no JSON; set path"),
        ({"path": "link"}, "'x' is a link to a folder, which is not followed"),
        ({"path": "none.jsonl"}, "'none.jsonl' has no rows; add images"),
        ({"path": "in", "rows": 2}, "'s': 2 rows asked for, 1 found; set rows to 1, or add images."),
        ({"path": "owner/images", "rows": 5, "sample": "random"}, "sample is random, but a hub data set is read from"),
    ],
)
def test_what_cannot_be_counted_is_told_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "film", "link"):
        Path(name).mkdir()
    write_folder(Path("in"), "a.png")
    Path("film/a.mp4").touch()
    Path("link/x").symlink_to(tmp_path / "in")
    Path("torn.parquet").write_bytes(b"PAR1")
    Path("list.json").write_text("{")
    Path("none.jsonl").touch()
    with pytest.raises(UserError) as caught:
        opened({"name": "s"} | source)
    assert str(caught.value).startswith("datasets.d.sources 's'") and sentence in str(caught.value)


def test_rows_that_own_images_lack_are_told_when_the_config_is_read(tmp_path: Path) -> None:
    path = str(write_folder(tmp_path / "in", "a.png", "b.png"))
    images = {"source": "images", "images": {"path": path, "rows": 3}}
    with pytest.raises(UserError, match=r"^runs\.r\.queries\.images: 3 rows asked for, 2 found; set rows to 2"):
        opened({"name": "s", "path": path}, queries=images)


def test_rows_that_only_a_job_can_count_are_taken_as_asked(tmp_path: Path) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    folder = {"path": str(write_folder(tmp_path / "in", "a.png")), "label_column": "label", "labels": ["a"]}
    given = opened({"name": "a", "path": str(torn), "rows": 7}, {"name": "b", "rows": 9} | folder)
    assert given.datasets["d"].rows == {"a": 7, "b": 9}


def test_every_image_is_ranked_on_request(tmp_path: Path) -> None:
    source = {"name": "s", "path": str(write_folder(tmp_path / "in", *[f"{n}.png" for n in range(8)]))}
    run = opened(source).runs["r"]
    assert run.gradients.count("train") == 8 and run.model.dataset.counts.test == 0
    for queries in ({"per_subset": 2}, {"source": "held_out", "per_subset": 2}):
        with pytest.raises(UserError, match=r"takes from the test set, but datasets\.d\.train_fraction is 1"):
            opened(source, queries=queries)
    with pytest.raises(UserError, match=r"leaves the training or the test set of 8 rows empty"):
        opened(source, train_fraction=0.01)


def test_random_rows_hang_on_the_seed_of_the_data_set(tmp_path: Path) -> None:
    path = str(write_folder(tmp_path / "in", *[f"{n}.png" for n in range(8)]))
    drawn, first = {"name": "a", "path": path, "rows": 5, "sample": "random"}, {"name": "b", "path": path}
    dataset = opened(drawn, first, seed=7).datasets["d"]
    assert dataset.draw_seed("a") == 7 and dataset.draw_seed("b") is None and dataset.rows == {"a": 5, "b": 8}


def test_a_changed_image_of_a_table_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "in", "a.png", "sub/b.PNG", "sub/c.Png")
    (folder / "list.jsonl").write_text('{"image_path": "a.png", "caption": "x"}\n')
    (folder / "notes.md").write_text("x")

    class Named:
        dataset, source = "d", "s"

    def digest() -> str:
        return JobContents(opened({"name": "s", "path": "in/list.jsonl"}), lambda _: None).source(Named)

    before = digest()
    (folder / "notes.md").write_text("another")
    assert digest() == before
    for name, data in (
        ("a.png", encoded(9)),
        ("sub/b.PNG", encoded(9)),
        ("sub/c.Png", encoded(9)),
        ("a.txt", b"a caption"),
    ):
        (folder / name).write_bytes(data)
        assert digest() != before
        before = digest()


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (["a.png", "sub/b.Png"], True),
        ([{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "sub/b.Png"}], True),
        ([{"bytes": encoded(1), "path": "a.png"}, {"bytes": encoded(2), "path": "sub/b.Png"}], False),
        ([encoded(1), encoded(2)], False),
    ],
)
@pytest.mark.parametrize("column", ["image", "picture"])
@pytest.mark.fault(
    "an image that a table of paths in parquet names is changed in its place",
    "the source is read again; a neighbour of a file that holds its images changes nothing",
)
def test_a_changed_image_of_a_parquet_table_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: list[Any], named: bool, column: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "in", "a.png", "sub/b.Png")
    pd.DataFrame({"text": "x", column: images, "thumbnail": [b"1", b"2"]}).to_parquet(folder / "list.parquet")
    given = {"path": "in/list.parquet", "image_column": column}

    class Named:
        dataset, source, run = "d", "s", "r"

    def digests() -> list[str]:
        asked = {"source": "images", "images": given}
        contents = JobContents(opened({"name": "s"} | given, queries=asked), lambda _: None)
        return [contents.source(Named), contents.queries(Named)]

    before = digests()
    for name, data in (("a.png", encoded(9)), ("sub/b.Png", encoded(9))):
        (folder / name).write_bytes(data)
        after = digests()
        assert [new != old for new, old in zip(after, before, strict=True)] == [named, named]
        before = after


def test_counting_imports_no_library(tmp_path: Path) -> None:
    pd.DataFrame({"image": [b"x"] * 3}).to_parquet(tmp_path / "a.parquet")
    code = (
        "import sys; from pathlib import Path; from dmin.folders.count import count_rows\n"
        "print(count_rows(Path(sys.argv[1]), 'train'), sorted({'pyarrow', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")], capture_output=True, text=True, check=True
    )
    assert result.stdout == "3 []\n"


@pytest.mark.parametrize(
    ("changes", "expected"), [({}, True), ({"classes": ["a", "b"]}, False), ({"source": 1}, False)]
)
def test_facets_are_of_queries_with_labels(tmp_path: Path, changes: dict[str, Any], expected: bool) -> None:
    path = str(write_folder(tmp_path / "in", *[f"{kind}/{n}.png" for kind in "ab" for n in range(8)]))
    source = {"name": "s", "path": path, "label_column": "label"}
    queries = PROMPTS if changes.pop("source", None) else {"per_subset": 1}
    run = opened(source, queries=queries, train_fraction=0.5, **changes).runs["r"]
    assert run.queries.labelled is expected
