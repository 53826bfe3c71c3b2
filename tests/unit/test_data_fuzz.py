"""Any folder, table, text or image ends in what is in it or in one sentence, and never in another file."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from local_sources import encoded, fetched, settings, values
from PIL import Image

from dmin.data.images import decode_image
from dmin.data.outside import UnreadableImageError
from dmin.runtime.errors import UserError
from dmin.runtime.text import read_text, text_lines

SECRET = 99
fuzz = budget(derandomize=True, database=None, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
# What other readers of folders and paths act on, and any other text.
PARTS = st.sampled_from(
    ["train", "test", "val", "a", "set[1]", "set1", "{x}", "*", "?", "a,b", "[!a]", "**", "~", "$HOME", "a b", "-",
     "%00", "hf:", "c::d", "metadata", "README.md", "ü", "\n", "\x1b[2J", os.fsdecode(b"\xe9")]
)  # fmt: skip
SUFFIXES = st.sampled_from([".png", ".PNG", ".jpg", ".txt", ".json", ".csv", ".md", "", ".heic"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield a folder for a source, beside which lies an image that must never be read."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "secret.png").write_bytes(encoded(SECRET))
        (place / "in").mkdir()
        yield place


def attempt(place: Path, source: dict[str, Any]) -> pd.DataFrame | None:
    """Return what is fetched, or None where it is refused in one sentence."""
    try:
        frame = fetched(place, source)
    except UserError as error:
        assert "\n" not in str(error) and str(error).isprintable()
        assert not (place / "out.parquet").exists()
        return None
    assert SECRET not in values(frame)
    return frame


@fuzz
@given(
    st.dictionaries(st.tuples(PARTS, PARTS, SUFFIXES), st.booleans(), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["train"] * 6 + ["test", "a", "..", "*"]),
)
def test_folders(files: dict[tuple[str, str, str], bool], deep: bool, split: str) -> None:
    with workplace() as place:
        root = place / "in"
        for number, ((folder, name, suffix), _) in enumerate(files.items()):
            path = root / folder / f"{name}{suffix}" if deep else root / f"{folder}{name}{suffix}"
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                path.write_bytes(encoded(number))
        frame = attempt(place, settings(root, caption_column=None, split=split))
        if frame is not None:
            chosen = root / split if (root / split).is_dir() else root
            wanted = sorted(
                path.as_posix() for path in chosen.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".heic")
            )
            assert values(frame) == values(
                pd.DataFrame({"image": [{"bytes": Path(path).read_bytes()} for path in wanted]})
            )


IMAGES = st.integers(0, 9).map(encoded)
PATHS = st.sampled_from(["a.png", "./a.png", "x/../a.png"])
BAD = st.sampled_from(["../secret.png", "b", "", "file:///etc/passwd", "\0", "in/../../secret.png", None])


def columns(images: st.SearchStrategy[Any], paths: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Return columns of images in every form that is read."""
    pairs = st.one_of(
        st.fixed_dictionaries({"bytes": images, "path": st.one_of(paths, BAD)}),
        st.fixed_dictionaries({"bytes": st.none(), "path": paths}, optional={"more": st.just(1)}),
    )
    return st.one_of(*(st.lists(cells, min_size=1, max_size=4) for cells in (images, paths, pairs)))


WELL = columns(IMAGES, PATHS)
MIXED = columns(st.one_of(IMAGES, st.sampled_from([b"", b"x", None])), st.one_of(PATHS, BAD))
ILL = st.one_of(
    st.lists(st.lists(st.integers(0, 255), max_size=3), min_size=1, max_size=3),
    st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**40), 2**40)), min_size=1, max_size=3),
    st.lists(st.fixed_dictionaries({"bytes": st.lists(st.integers(0, 255))}), min_size=1, max_size=3),
    st.lists(st.one_of(st.dates(), st.times(), st.booleans(), st.decimals(-9, 9)), min_size=1, max_size=1),
)
COLUMNS = st.one_of(WELL, WELL, MIXED, ILL)
CAPTIONS = st.one_of(
    st.sampled_from(["a", " b ", "{c}"]),
    TEXTS,
    st.one_of(st.none(), st.lists(TEXTS, max_size=2), st.integers(0, 9), st.binary(max_size=4), st.booleans()),
)


@fuzz
@given(COLUMNS, CAPTIONS, st.sampled_from(["error", "skip"]), st.sampled_from([None, "label"]), st.data())
def test_tables(column: list[Any], caption: Any, unreadable: str, label: str | None, data: st.DataObject) -> None:
    try:
        image = pa.array(column)
    except (pa.ArrowException, OverflowError):
        return
    captions = pa.array([caption] * len(column))
    labels = pa.array(
        data.draw(st.lists(st.sampled_from([-2, 0, 0, 1, 1, 2, 2, 3]), min_size=len(column), max_size=len(column)))
    )
    table = pa.table({"image": image, "prompt": captions, "label": labels})
    features = {"label": {"names": ["x", "y", "z"], "_type": "ClassLabel"}}
    if data.draw(st.booleans()):
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with workplace() as place:
        (place / "in" / "a.png").write_bytes(encoded(5))
        pq.write_table(table, place / "in" / "t.parquet")
        source = settings(place / "in" / "t.parquet", on_unreadable=unreadable, label_column=label)
        frame = attempt(place, source)
        if frame is not None:
            text = caption if isinstance(caption, str) else next((one for one in caption if one.strip()), None)
            assert set(frame["prompt"]) == {text.strip()}
            assert len(frame) == len(column) or unreadable == "skip"


@fuzz
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), st.sampled_from(["csv", "jsonl"]))
def test_metadata(rows: list[tuple[str, str]], form: str) -> None:
    with workplace() as place:
        root = place / "in"
        (root / "a.png").write_bytes(encoded(5))
        path = root / f"metadata.{form}"
        with path.open("w", encoding="utf-8", newline="") as file:
            if form == "csv":
                csv.writer(file).writerows([["file_name", "text", "label"], *(("a.png", *row) for row in rows)])
            else:
                lines = [{"file_name": "a.png", "text": text, "label": label} for text, label in rows]
                file.write("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
        frame = attempt(place, settings(root, caption_column="text", label_column="label"))
        plain = all(text.strip() and not set("\0") & set(text + label) for text, label in rows)
        if plain:
            assert frame is not None
        if frame is not None:
            assert frame["prompt"].tolist() == [text.strip() for text, _ in rows]
            assert frame["label"].fillna("").tolist() == [label for _, label in rows]


@fuzz
@given(TEXTS)
def test_names_in_metadata(name: str) -> None:
    with workplace() as place:
        (place / "in" / "a.png").write_bytes(encoded(5))
        for spelt in (name, f"../{name}", f"../secret.png{name}", f"{place}/{name}", f"x/../{name}/../a.png"):
            (place / "in" / "metadata.jsonl").write_text(json.dumps({"file_name": spelt}), encoding="utf-8")
            frame = attempt(place, settings(place / "in", caption_column=None, on_unreadable="skip"))
            assert frame is None or values(frame) == [5]


@fuzz
@given(st.one_of(st.binary(max_size=60), TEXTS.map(str.encode), TEXTS.map(lambda text: text.encode("utf-16"))))
def test_files_of_text(data: bytes) -> None:
    with workplace() as place:
        path = place / "p.txt"
        path.write_bytes(data)
        try:
            text = read_text(path, "Prompts")
        except UserError as error:
            assert str(error).isprintable()
            return
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")
        assert "\n".join(text_lines(text)) == text.replace("\r\n", "\n").removesuffix("\r")


FORMS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


def sample(form: str) -> bytes:
    """Return an image with colours, extras and transparency where a format has them."""
    image = Image.effect_mandelbrot((24, 18), (-2, -1, 1, 1), 50).convert("RGB" if form == "JPEG" else "L")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
    return buffer.getvalue()


SAMPLES = {form: sample(form) for form in FORMS}


@pytest.mark.attack(
    "image", "bytes changed, cut out or put in anywhere in an image", "an image of the size asked for, or one sentence"
)
@budget(fuzz, max_examples=400)
@given(
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_images(form: str, changes: list[tuple[int, int, bytes]]) -> None:
    data = SAMPLES[form]
    for place, cut, new in changes:
        place %= len(data)
        data = data[:place] + new + data[place + cut :]
    try:
        image = decode_image(data, "x", 8)
    except UnreadableImageError as error:
        assert str(error).isprintable()
    else:
        assert image.size == (8, 8) and image.mode == "RGB"
