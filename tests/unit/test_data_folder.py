"""Local paths are literal: names, words and files beside the images change nothing that is read."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from local_sources import cells, encoded, fetched, refusal, settings, table, values, write_folder

from dmin.runtime.errors import UserError


def images(path: Path, **changes: Any) -> dict[str, Any]:
    """Return a source of images without captions."""
    return settings(path, caption_column=None, **changes)


ODD = ["set[1]", "set*", "set?", "{a,b}", "a,b", "**", "[!a]", "a b", "a'b", "über", "a=b", "a%41", "#1", "a::b"]


@pytest.mark.parametrize("name", ODD)
def test_names_of_files_and_folders_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    for value, other in enumerate(["set1", "seta", "a", "b", "set", name]):
        table(tmp_path / f"{other}.parquet", cells(encoded(value)))
        write_folder(tmp_path / other, "0.png")
        (tmp_path / other / "0.png").write_bytes(encoded(value))
    assert values(fetched(tmp_path, settings(tmp_path / f"{name}.parquet"))) == [5]
    assert values(fetched(tmp_path, images(tmp_path / name))) == [5]
    nested = write_folder(tmp_path / "in" / name, f"{name}.png", "0/1.png", f"{name}/2.png")
    assert sorted(values(fetched(tmp_path, images(nested)))) == [1, 2, 3]


def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \x1b[31m\n.png")
    frame = fetched(tmp_path, images(write_folder(tmp_path / "in", name)))
    assert values(frame) == [1] and frame["image"][0]["path"].startswith("caf\\udce9")
    parquet = tmp_path / os.fsdecode(b"caf\xe9.parquet")
    table(tmp_path / "a.parquet", cells(encoded(7))).rename(parquet)
    assert values(fetched(tmp_path, settings(parquet))) == [7]


@pytest.mark.parametrize("word", ["train", "test", "val", "validation", "dev"])
def test_split_words_in_names_mean_nothing(tmp_path: Path, word: str) -> None:
    folder = write_folder(tmp_path / f"{word}_set", f"{word}_1.png", "a.png", f"{word}-3.png", f"b/{word}.png")
    assert sorted(values(fetched(tmp_path, images(folder)))) == [1, 2, 3, 4]
    inside = write_folder(tmp_path / word / "x", "a.png", "b.png")
    assert values(fetched(tmp_path, images(inside))) == [1, 2]


def test_split_is_the_folder_of_its_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "test/a.png", "train/b.png", "val/c.png")
    for split, value in (("test", 1), ("train", 2), ("val", 3)):
        assert values(fetched(tmp_path, images(folder, split=split))) == [value]
    for split in ("validation", "", "..", "../in", "a\0b", "train[:1]"):
        with pytest.raises(UserError, match=r"cannot be read \(it has no folder"):
            fetched(tmp_path, images(folder, split=split))
    # Without a folder train, the words are those of classes.
    folder = write_folder(tmp_path / "classes", "test/a.png", "val/c.png")
    assert fetched(tmp_path, images(folder, label_column="label"))["label"].tolist() == ["test", "val"]


def test_a_class_named_train_is_no_split_in_silence(tmp_path: Path) -> None:
    for other in ("plane/b.png", "b.png"):
        folder = write_folder(tmp_path / other.replace("/", "-"), "train/a.png", other)
        with pytest.raises(UserError, match=r"holds the folder 'train' beside '(plane|b\.png)'\); set path to one"):
            fetched(tmp_path, images(folder))
    folder = write_folder(tmp_path / "own", "train/a.png", "train/b.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "train/b.png", "text": "b"}\n')
    frame = fetched(tmp_path, settings(folder, caption_column="text"))
    assert values(frame) == [2] and frame["prompt"].tolist() == ["b"]


BESIDE = {
    "README.md": "---\nconfigs:\n- config_name: default\n  data_files: other/*.png\n---\n",
    "dataset_info.json": '{"splits": {}}',
    "0.txt": "a caption",
    "1.txt": "a caption",
    "2.txt": "a caption",
    "notes.csv": "a,b\n1,2\n",
    "list.json": "[1]",
    "data.jsonl": '{"text": "x"}\n',
    "code.py": "raise SystemExit",
    "thumbs.db": "x",
    ".hidden.png": "x",
    "model.safetensors": "x",
    "__MACOSX/._a.png": "x",
}


def test_files_beside_the_images_change_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "b.png", "a.png")
    for name, text in BESIDE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert values(fetched(tmp_path, images(folder))) == [2, 1]


def test_what_is_ambiguous_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    for name, sentence in (
        ("b.zip", "archive 'b.zip'"),
        ("b.tar", "archive 'b.tar'"),
        ("b.parquet", "and parquet files"),
    ):
        (folder / name).write_bytes(b"x")
        with pytest.raises(UserError, match=sentence):
            fetched(tmp_path, images(folder))
        (folder / name).unlink()
    for name in ("metadata.csv", "metadata.jsonl"):
        (folder / name).write_text("file_name\na.png\n")
    with pytest.raises(UserError, match="several of metadata"):
        fetched(tmp_path, images(folder))


def test_folders_of_parquet_files(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "README.md").write_text(BESIDE["README.md"])
    for value, name in enumerate(("test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002")):
        table(folder / f"{name}.parquet", cells(encoded(value)))
    assert values(fetched(tmp_path, settings(folder.parent))) == [1, 2]
    assert values(fetched(tmp_path, settings(folder, split="test"))) == [0]
    with pytest.raises(UserError, match=r"it has no split 'val', but test, train"):
        fetched(tmp_path, settings(folder, split="val"))
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"1 of the 'train' files, fewer than their names say\); download"):
        fetched(tmp_path, settings(folder))
    plain = tmp_path / "plain"
    plain.mkdir()
    for value, name in enumerate(("a", "b")):
        table(plain / f"{name}.parquet", cells(encoded(value)))
    assert values(fetched(tmp_path, settings(plain))) == [0, 1]
    table(plain / "c.parquet", cells(encoded(3)), more=[1])
    with pytest.raises(UserError, match=r"'c\.parquet' has other columns than 'a\.parquet'"):
        fetched(tmp_path, settings(plain))
    (plain / "c.parquet").rename(plain / "test.parquet")
    with pytest.raises(UserError, match="parquet files of its own, 'test' among them"):
        fetched(tmp_path, settings(plain))


def test_cells_of_csv_files_are_text(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    (folder / "metadata.csv").write_text(
        '\ufefffile_name,text,kind\na.png,01,1\nb.png,NA,\n\nc.png,"None, or\nnull",NaN\nd.png,1e5,true\n',
        encoding="utf-8",
    )
    frame = fetched(tmp_path, settings(folder, caption_column="text", label_column="kind"))
    assert frame["prompt"].tolist() == ["01", "NA", "None, or\nnull", "1e5"]
    assert frame["label"].fillna("(none)").tolist() == ["1", "(none)", "NaN", "true"]


def test_captions_of_json_lines_are_kept(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "sub/a.png", "b.png")
    rows = [
        {"file_name": "sub\\a.png", "text": "one\u2028line {x} %s $y", "when": "2020-01-01"},
        {"file_name": "./b.png", "text": "form\x0cfeed", "when": None},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "metadata.jsonl").write_text("\r\n".join(lines), encoding="utf-8")
    frame = fetched(tmp_path, settings(folder, caption_column="text", label_column="when"))
    assert values(frame) == [1, 2] and frame["prompt"].tolist() == [row["text"] for row in rows]
    assert frame["label"].fillna("").tolist() == ["2020-01-01", ""]


def test_metadata_in_folders_and_in_parquet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "in", "x/a.png", "y/a.png", "y/b.png")
    for name in "xy":
        pd.DataFrame({"file_name": ["a.png"], "mask_file_name": ["a.png"], "text": [name]}).to_parquet(
            folder / name / "metadata.parquet"
        )
    with caplog.at_level(logging.WARNING):
        frame = fetched(tmp_path, settings(folder, caption_column="text", image_column="mask"))
    assert values(frame) == [1, 2] and frame["prompt"].tolist() == ["x", "y"]
    assert "1 images are not in the metadata and not read, y/b.png first" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("metadata.csv", "name,text\na.png,x\n", "has no column file_name; its columns: name, text"),
        ("metadata.csv", "", "has no column file_name; its columns: none"),
        ("metadata.csv", "file_name;text\na.png;x\n", "its columns: file_name;text"),
        ("metadata.csv", "file_name,text\na.png,x,y\n", "has 3 cells in line 2, but 2 columns"),
        ("metadata.csv", 'file_name,text\na.png,"x\n', "line 2: unexpected end of data"),
        ("metadata.csv", "file_name,text,text\na.png,x,y\n", "has a column twice"),
        ("metadata.csv", "file_name,text\na.png,grün\n", "is not in UTF-8 but, it seems, in cp1252"),
        ("metadata.jsonl", "[1]\n", "has a list in line 1, not an object"),
        ("metadata.jsonl", '{"file_name": \n', "has no JSON in line 1"),
        ("metadata.jsonl", '{"text": "x"}\n', "has no column file_name"),
    ],
)
def test_malformed_metadata_is_told(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / name).write_text(text, encoding="cp1252")
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, images(folder))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.fault("a picture in a format that is not read", "its row and format are named; skip leaves it out")
def test_formats_that_are_not_read_are_not_lost_in_silence(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.png")
    (folder / "c.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(UserError, match=r"row 2 \(c\.heic\) \('c\.heic': it is HEIC, AVIF or a film; PNG, JPEG"):
        fetched(tmp_path, images(folder))
    assert values(fetched(tmp_path, images(folder, on_unreadable="skip"))) == [1, 2]


def test_upper_case_and_unusual_suffixes_are_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "A.PNG", "b.JFIF", "c.Jpeg", "d.tif")
    assert sorted(values(fetched(tmp_path, images(folder)))) == [1, 2, 3, 4]


@pytest.mark.fault("a Git LFS pointer in place of an image, a table or metadata", "`git lfs pull` is named")
@pytest.mark.parametrize("kind", ["parquet", "image", "cell", "metadata"])
def test_pointers_of_git_lfs_are_named(tmp_path: Path, kind: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    folder = write_folder(tmp_path / "in", "a.png", "b.png")
    source = images(folder, on_unreadable="skip")
    if kind == "parquet":
        (tmp_path / "in.parquet").write_bytes(pointer)
        source = settings(tmp_path / "in.parquet")
    elif kind == "cell":
        source = settings(table(tmp_path / "in.parquet", cells(encoded(), pointer)), on_unreadable="skip")
    else:
        (folder / ("metadata.csv" if kind == "metadata" else "b.png")).write_bytes(pointer)
    with pytest.raises(UserError, match=r"pointer of Git LFS, not the file; run 'git lfs pull'"):
        fetched(tmp_path, source)


@pytest.mark.fault("accents in file names, written otherwise in the metadata", "the file is found")
@pytest.mark.parametrize(("named", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")])
def test_accents_of_either_form_name_the_file(
    tmp_path: Path, named: str, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    image = unicodedata.normalize(stored, "été/é.png")  # type: ignore[arg-type]
    folder = write_folder(tmp_path / "f", image, "b.png")
    name = unicodedata.normalize(named, "été\\é.png")  # type: ignore[arg-type]
    (folder / "metadata.csv").write_text(f"file_name,prompt\n{name},x\n./b.png,y\n", encoding="utf-8")
    assert values(fetched(tmp_path, settings(folder))) == [1, 2]
    assert "not in the metadata" not in caplog.text


def test_both_forms_of_an_accent_are_two_files(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]  # type: ignore[arg-type]
    folder = write_folder(tmp_path / "f", *names)
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": name, "prompt": "x"}) for name in names))
    assert values(fetched(tmp_path, settings(folder))) == [1, 2]


@pytest.mark.fault("a key twice in a line of metadata", "refused; key and line are named")
def test_key_twice_in_a_line_of_metadata_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", "a.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "prompt": "x", "prompt": "y"}')
    assert "'metadata.jsonl' has the key 'prompt' twice in line 1" in refusal(tmp_path, settings(folder))


@pytest.mark.fault("two versions of one shard in a folder", "refused; its rows are not taken twice")
@pytest.mark.parametrize("count", [1, 2])
def test_shards_of_one_number_are_refused(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for version in ("", "-0123abc"):
        table(folder / f"train-00000-of-{count:05}{version}.parquet", cells(encoded(1)))
    assert "it holds several 'train' files of number 00000" in refusal(tmp_path, settings(folder))
