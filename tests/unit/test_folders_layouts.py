"""Folders as trainers leave them: which images are read, with which captions, and how many before anything runs."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from local_sources import cells, encoded, fetched, refusal, settings, table, values, write_folder

from dmin.data.source import fetch_source
from dmin.folders.count import count_rows
from dmin.folders.files import UnreadableSourceError
from dmin.folders.footer import names_files, parquet_rows
from dmin.runtime.errors import UserError


def captions(tmp_path: Path, path: Path, **changes: Any) -> dict[str, str]:
    """Fetch a source, check that as many rows were counted, and return its captions by the files of its images."""
    frame = fetched(tmp_path, settings(path, **changes))
    (tmp_path / "out.parquet").unlink()
    assert len(frame) == count_rows(path, "train")
    return dict(zip(frame["origin"], frame["prompt"], strict=True))


def beside(folder: Path, **texts: str) -> None:
    """Write files of captions beside images."""
    for name, text in texts.items():
        place, _, end = name.rpartition("_")
        (folder / f"{place.replace('__', '/')}.{end}").write_text(text, encoding="utf-8")


def test_captions_beside_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.JPG", "sub/a.png", "sub/c.d.webp")
    beside(folder, a_txt="red fox, snow\n", b_caption=" a dog ", sub__a_txt="ein Fuchs für ü")
    (folder / "sub" / "c.d.txt").write_text("dots")
    expected = {"a.png": "red fox, snow", "b.JPG": "a dog", "sub/a.png": "ein Fuchs für ü", "sub/c.d.webp": "dots"}
    assert captions(tmp_path, folder) == expected


def test_metadata_wins_over_captions_beside(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.png")
    beside(folder, a_txt="beside a", b_txt="beside b")
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "b.png", "text": "told b"}\n{"file_name": "a.png", "text": "a"}'
    )
    frame = fetched(tmp_path, settings(folder))
    assert frame["prompt"].tolist() == ["told b", "a"] and frame["origin"].tolist() == ["b.png", "a.png"]
    # Where it has no captions, those beside count.
    (folder / "metadata.jsonl").unlink()
    (folder / "metadata.csv").write_text("file_name,kind\na.png,x\nb.png,y\n")
    frame = fetched(tmp_path, settings(folder, label_column="kind"))
    assert frame["prompt"].tolist() == ["beside a", "beside b"] and frame["label"].tolist() == ["x", "y"]


def test_two_captions_that_differ_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    beside(folder, a_txt="one", a_caption="one")
    assert captions(tmp_path, folder) == {"a.png": "one"}
    beside(folder, a_caption="two")
    assert "'a.txt' and 'a.caption' are captions of one image and differ; keep one." in refusal(
        tmp_path, settings(folder)
    )


def test_captions_are_told_to_be_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.png")
    assert "has no captions, neither in a column prompt, text or caption nor in files" in refusal(
        tmp_path, settings(folder)
    )
    assert captions(tmp_path, folder, on_empty_caption="keep") == {"a.png": "", "b.png": ""}
    beside(folder, a_txt="fox", b_txt=" \n")
    assert "'caption' is empty in 1 row(s), row 1 (b.png); fill them in, set on_empty_caption: keep" in refusal(
        tmp_path, settings(folder)
    )
    assert captions(tmp_path, folder, on_empty_caption="keep") == {"a.png": "fox", "b.png": ""}


@pytest.mark.attack("text", "a link to a file of captions that leads out", "refused, not followed")
def test_captions_lie_in_the_folder_of_their_source(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    assert "lies outside the folder of its source" in refusal(tmp_path, settings(folder))


@pytest.mark.fault("a caption beside an image in another encoding", "refused; file and encoding are named")
def test_captions_are_utf8(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "a.txt").write_bytes("grün".encode("cp1252"))
    assert "is not in UTF-8 but, it seems, in cp1252" in refusal(tmp_path, settings(folder))


def test_masks_and_what_file_managers_leave_are_passed_over(tmp_path: Path) -> None:
    left = [
        "@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg",
        "__MACOSX/._a.png",
        "._a.png",
        ".thumbnails/a.png",
        "$RECYCLE.BIN/x.png",
    ]
    folder = write_folder(tmp_path / "in", "a.png", "b-masklabel.png", "a-masklabel.png", "a-condlabel.png", *left)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "a.npz", "a_sdxl.safetensors"):
        (folder / name).write_bytes(b"x")
    frame = fetched(tmp_path, settings(folder, caption_column=None))
    assert values(frame) == [1, 2] and frame["origin"].tolist() == ["a.png", "b-masklabel.png"]
    assert count_rows(folder, "train") == 2


def test_json_of_sd_scripts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.jpg", "sub/c.webp")
    entries = {
        "a": {"caption": "a fox", "tags": "snow, red", "train_resolution": [6, 5]},
        "b.jpg": {"tags": "dog"},
        str(folder / "sub" / "c"): {"caption": "a cow"},
    }
    (folder / "meta_lat.json").write_text(json.dumps(entries))
    expected = {"a.png": "a fox, snow, red", "b.jpg": "dog", "sub/c.webp": "a cow"}
    assert captions(tmp_path, folder / "meta_lat.json") == expected


def test_json_lines_of_musubi(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "sub/b.png")
    lines = [{"image_path": str(folder / "a.png"), "caption": "a fox"}, {"image_path": "sub/b.png", "caption": "dog"}]
    for name in ("data.jsonl", "metadata.jsonl"):
        (folder / name).write_text("\n".join(map(json.dumps, lines)))
    expected = {"a.png": "a fox", "sub/b.png": "dog"}
    assert captions(tmp_path, folder / "data.jsonl") == captions(tmp_path, folder) == expected
    (folder / "data.jsonl").write_text(json.dumps({"video_path": "a.mp4", "caption": "x"}))
    assert "has films in its column 'video_path'); store images" in refusal(tmp_path, settings(folder / "data.jsonl"))


@pytest.mark.parametrize("name", ["file_name", "image_path", "path", "filename", "image"])
@pytest.mark.parametrize("end", [".csv", ".jsonl", ".json", ".parquet"])
def test_loose_tables_of_paths(tmp_path: Path, name: str, end: str) -> None:
    folder = write_folder(tmp_path / "in", "b.png", "x/a.png", "other.png")
    frame = pd.DataFrame({name: ["x/a.png", "b.png"], "text": ["one", "two"], "kind": ["k", "l"]})
    path = folder / f"list{end}"
    if end == ".parquet":
        frame.to_parquet(path)
    elif end == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=end == ".jsonl")
    read = fetched(tmp_path, settings(path, label_column="kind"))
    assert values(read) == [2, 1] and read["prompt"].tolist() == ["one", "two"] and read["label"].tolist() == ["k", "l"]
    assert count_rows(path, "train") == 2


@pytest.mark.fault("a table of addresses in place of images", "the column is named; nothing is downloaded")
@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_addresses_are_told(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"list{end}"
    frame = pd.DataFrame({"url": ["https://example.org/a.png"], "text": ["x"]})
    frame.to_csv(path, index=False) if end == ".csv" else frame.to_parquet(path)
    assert "has addresses in its column 'url'" in refusal(tmp_path, settings(path))
    for cell in ("https://example.org/a.png", "data:image/png;base64,iVBORw0KGgo="):
        frame = pd.DataFrame({"file_name": [cell], "text": ["x"]})
        frame.to_csv(path, index=False) if end == ".csv" else frame.to_parquet(path)
        found = refusal(tmp_path, settings(path))
        assert ("download the images" if cell.startswith("https") else "decode it to bytes") in found


@pytest.mark.fault("a folder of films, or of what a trainer keeps of images", "named with a file of it")
def test_folders_without_images_say_what_they_hold(tmp_path: Path) -> None:
    for name, sentence in (
        ("a.mp4", "films are not read"),
        ("a.npz", "the folder of the images"),
        ("a.csv", "set path to it"),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        found = refusal(tmp_path, settings(folder))
        assert f"'{name}'" in found and sentence in found


def test_trigger_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    beside(folder, a_txt="photo of [trigger], snow", b_txt="a dog", c_txt="sks on grass", d_txt="[name] at night")
    words = captions(tmp_path, folder, trigger="sks")
    assert list(words.values()) == ["photo of sks, snow", "sks a dog", "sks on grass", "sks at night"]
    assert captions(tmp_path, folder, trigger="")["a.png"] == "photo of , snow"
    assert "the caption of row 0 has [trigger]; set trigger to the word" in refusal(tmp_path, settings(folder))


def test_rows_can_be_drawn(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", *[f"{number:02}.png" for number in range(30)])
    source = settings(folder, caption_column=None, rows=8)

    def drawn(seed: int | None, **changes: Any) -> list[int]:
        fetch_source("lego", source | changes, tmp_path / "out.parquet", seed)
        return values(pd.read_parquet(tmp_path / "out.parquet"))

    assert drawn(None) == [1, 2, 3, 4, 5, 6, 7, 8]
    first = drawn(1)
    assert first == drawn(1) == sorted(set(first)) and len(first) == 8 and first not in (drawn(2), drawn(None))
    # Over many draws every row is taken about as often.
    counts = pd.Series([row for seed in range(60) for row in drawn(seed)]).value_counts()
    assert len(counts) == 30 and counts.min() > 4 and counts.max() < 30
    (folder / f"{first[0] - 1:02}.png").write_bytes(b"torn")
    replaced = drawn(1, on_unreadable="skip")
    assert len(replaced) == 8 and first[0] not in replaced and set(first[1:]) < set(replaced)
    with pytest.raises(UserError, match="31 rows asked for, 30 found"):
        write_folder(folder, f"{first[0] - 1:02}.png")
        drawn(1, rows=31)


def test_draws_are_of_the_labels_that_are_taken(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(n) for n in range(12)]), kind=list("ab" * 6))
    source = settings(path, rows=4, label_column="kind", labels=["b"])
    fetch_source("lego", source, tmp_path / "out.parquet", 3)
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame["label"].tolist() == ["b"] * 4 and len(set(values(frame))) == 4


@pytest.mark.parametrize("rows", [0, 1, 100, 200_000])
def test_rows_of_parquet_files_are_counted_from_their_footers(tmp_path: Path, rows: int) -> None:
    frame = pd.DataFrame({"a": range(rows), "ok": [True] * rows, "text": ["x" * 40] * rows, "l": [[1, 2]] * rows})
    for number, options in enumerate(({}, {"row_group_size": max(1, rows // 7)}, {"compression": "none"})):
        path = tmp_path / f"{number}.parquet"
        frame.to_parquet(path, **options)  # type: ignore[arg-type]
        assert parquet_rows(path) == rows


def test_torn_footers_are_told(tmp_path: Path) -> None:
    path = table(tmp_path / "in.parquet", cells(*[encoded(n) for n in range(12)]))
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    for torn in (b"", b"x", whole[:-1], whole[:-100], whole[: -8 - length] + b"\xff" * length + whole[-8:]):
        path.write_bytes(torn)
        with pytest.raises(UnreadableSourceError):
            parquet_rows(path)
    for place in range(len(whole) - 8 - length, len(whole) - 8):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        for read in (parquet_rows, lambda torn: names_files(torn, "image")):
            with suppress(UnreadableSourceError):
                read(path)
