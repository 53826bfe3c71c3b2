"""Texts from outside: told encodings, lines that end at ends of lines alone, and nothing raw where they are shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_sources import cells, encoded, fetched, settings, table, write_folder

from dmin.figures.canvas import Canvas
from dmin.figures.explorer_data import _text
from dmin.figures.style import save_figure
from dmin.runtime.errors import UserError
from dmin.runtime.text import drawable, read_text, shown, text_lines
from dmin.settings.runs import Queries as QueriesSettings
from dmin.workflow.queries import Queries


def prompts(path: Path) -> list[str]:
    """Return the prompts of a file, as a run asks about them."""
    settings: QueriesSettings = {"prompts": str(path), "source": "prompts"}  # type: ignore[typeddict-item]
    return Queries("r", settings, None).prompts  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("\ufeffa fox\nb".encode(), ["a fox", "b"]),
        (b"a fox\r\nb\r\n", ["a fox", "b"]),
        ("a\u2028b\nc\u2029d\u0085e".encode(), ["a\u2028b", "c\u2029d\u0085e"]),
        (b"a\x0cb\x0bc\x1cd\x1de\x1ef\n", ["a\x0cb\x0bc\x1cd\x1de\x1ef"]),
        (b"\n  \n\x0c\n a \n", ["a"]),
        ("{a} %s 'x' \\n ü 旗 😀".encode(), ["{a} %s 'x' \\n ü 旗 😀"]),
        (b"", []),
    ],
)
@pytest.mark.attack(
    "text", "separators of lines that are none, in a file of prompts", "each line is one prompt, unchanged"
)
def test_prompts_are_lines(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    assert prompts(tmp_path / "p.txt") == expected


@pytest.mark.fault("prompts whose lines end in carriage returns alone", "refused; the line is named")
@pytest.mark.parametrize(("data", "line"), [(b"a\rb\rc\r", 1), (b"a\nb\rc\n", 2), (b"a\r\r\nb", 1)])
def test_lone_carriage_returns_are_told(tmp_path: Path, data: bytes, line: int) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    with pytest.raises(UserError, match=rf"p\.txt' has a carriage return within line {line}; end lines"):
        prompts(tmp_path / "p.txt")


@pytest.mark.fault("prompts in UTF-16 or cp1252", "the encoding is guessed and named")
@pytest.mark.parametrize(
    ("data", "guess"),
    [
        ("a red fox\n".encode("utf-16"), "UTF-16"),
        ("a red fox\n".encode("utf-16-le"), "UTF-16"),
        ("a red fox\n".encode("utf-16-be"), "UTF-16"),
        ("a red fox\n".encode("utf-32"), "UTF-32"),
        ("ein grüner Fuchs\n".encode("cp1252"), "cp1252"),
        ("“quoted”\n".encode("cp1252"), "cp1252"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a binary format"),
    ],
)
def test_other_encodings_are_told(tmp_path: Path, data: bytes, guess: str) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    with pytest.raises(UserError, match=rf"p\.txt' is not in UTF-8 but, it seems, in {guess}.*; save it as UTF-8\.$"):
        prompts(tmp_path / "p.txt")


@pytest.mark.attack("text", "a pipe, a folder or a device in place of a file of prompts", "refused at once")
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large", "none"])
def test_what_is_no_text_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "device":
        path = Path("/dev/zero")
    said = {"pipe": "is no file", "folder": "is a folder", "device": "is no file", "large": "is larger"}
    with pytest.raises(UserError, match=said.get(kind, "does not exist")):
        prompts(path)


CONTROLS = "".join(map(chr, range(32))) + "\x7f\x80\x9b\ud800\udfff\ufffe\uffff"


def test_what_is_shown_can_be_held_by_every_page() -> None:
    text = drawable(f"a{CONTROLS}b\U0001f600ü\u2028")
    assert text.startswith("a\ufffd") and text.endswith("b\U0001f600ü\u2028") and len(text) == len(CONTROLS) + 5
    ElementTree.fromstring(f"<p>{text}</p>")
    assert drawable("\ta\n") == "\ta\n"
    assert shown("a\x1b[31m\nb\udce9") == "a\\x1b[31m\\nb\\udce9" and shown("ü 旗") == "ü 旗"
    assert len(shown("x" * 10_000)) < 200 and text_lines("a\r\nb\u2028c\n") == ["a", "b\u2028c", ""]


@pytest.mark.attack(
    "text", "control characters in a caption", "marked in figures and the explorer; the prompt stays as it is"
)
def test_control_characters_of_captions_reach_no_page(tmp_path: Path) -> None:
    caption = "a\x00\x08\x1b]0;title\x07\x9b31m\ufffe <script>&amp; fox"
    path = table(tmp_path / "in.parquet", cells(encoded()), prompt=[caption])
    assert fetched(tmp_path, settings(path))["prompt"].tolist() == [caption]
    canvas = Canvas(2, 1)
    canvas.text(caption, (0.1, 0.1))
    save_figure(canvas.figure, [tmp_path / "f.svg"])
    ElementTree.parse(tmp_path / "f.svg")
    assert _text(caption) == drawable(caption) and "\x1b" not in _text(caption)


@pytest.mark.attack("text", "half a character in a caption or a label", "refused in one sentence that names the row")
@pytest.mark.parametrize("key", ["text", "kind"])
def test_half_characters_are_told(tmp_path: Path, key: str) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    row = {"file_name": "a.png", "text": "a", "kind": "b"} | {key: "a\ud800"}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"row 0 has the text 'a\\ud800', which holds half a character"):
        fetched(tmp_path, settings(folder, caption_column="text", label_column="kind"))


@pytest.mark.attack(
    "text", "a line of JSON nested 100,000 deep in metadata", "refused in one sentence that names the line"
)
def test_deep_json_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "metadata.jsonl").write_text('{"file_name": ' + "[" * 100_000)
    with pytest.raises(UserError, match="has no JSON in line 1"):
        fetched(tmp_path, settings(folder))


@pytest.mark.attack(
    "text", "terminal codes and ends of lines in names of files and columns", "shown as escapes, on one line"
)
def test_names_in_sentences_are_escaped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", "a.png")
    (folder / "\x1b[2J\nb.png").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, settings(folder, caption_column=None))
    assert "row 0 (\\x1b[2J\\nb.png)" in str(caught.value) and str(caught.value).isprintable()
    pd.DataFrame({"\x1b[2J\n": [1]}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(UserError) as caught:
        fetched(tmp_path, settings(tmp_path / "in.parquet"))
    assert str(caught.value).isprintable()


@pytest.mark.attack("text", "format and wildcard braces in captions", "they stay text")
def test_braces_stay(tmp_path: Path) -> None:
    captions = ["{0.__class__}", "{wildcards.x}", "{{}}", "{", "%(x)s %n", "$(id) `id` ${x}"]
    path = table(tmp_path / "in.parquet", cells(*[encoded()] * len(captions)), prompt=captions)
    assert fetched(tmp_path, settings(path))["prompt"].tolist() == captions


def test_text_in_other_bytes_in_a_parquet_file_is_told(tmp_path: Path) -> None:
    image = pa.array(cells(encoded()))
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")])
    pq.write_table(pa.table({"image": image, "prompt": text}), tmp_path / "in.parquet")
    with pytest.raises(UserError, match=r"'.*in\.parquet' cannot be read \('utf-?8' codec"):
        fetched(tmp_path, settings(tmp_path / "in.parquet"))


def test_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"^Prompts '.*p\.txt' is a pointer of Git LFS.*'git lfs pull'"):
        read_text(tmp_path / "p.txt", "Prompts")
