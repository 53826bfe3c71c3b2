"""Config files of every kind that is none: each ends in one sentence with the line, or in the right mapping."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dmin.runtime.errors import UserError
from dmin.settings import strict_yaml
from dmin.settings.strict_yaml import read_config_file
from dmin.workflow.config_files import check_config_files


def bomb() -> bytes:
    """Return eight lists, each of nine aliases of the one before: 43 million values in 300 bytes."""
    lists = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lists += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 8)]
    return b"\n".join(lists)


BAD = [
    pytest.param(
        b"runs:\n  a: {model: x}\n  a: {model: y}\n", ["line 3", "'a' again", "in line 2"],
        id="key twice",
        marks=pytest.mark.attack("config", "a key that stands twice in a table", "a sentence with its line"),
    ),
    pytest.param(
        b"a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: [*a, *b]\n", ["line 2", "'x' again", "in line 1"],
        id="merged twice",
        marks=pytest.mark.attack("config", "two merged tables that bring the same key", "a sentence with its line"),
    ),
    pytest.param(b"a: &a {x: 1}\nb: {<<: *a, <<: *a}\n", ["line 2", "'<<' again"], id="merge twice"),
    pytest.param(b"a: 190:20:30.5\n", ["line 1", "190:20:30.5, which YAML reads as 685230.5"], id="base 60"),
    pytest.param(b"1: a\n0x1: b\n", ["line 2", "1 again"], id="equal numbers as keys"),
    pytest.param(b'{"a": 1,\n "a": 2}', ["'a' twice"], id="key twice in JSON"),
    pytest.param(
        b"a: &x\n  b: *x\n", ["line 2", "*x within its own anchor"],
        id="recursive anchor",
        marks=pytest.mark.attack("config", "an anchor that holds itself", "a sentence with its line"),
    ),
    pytest.param(
        bomb(), ["line 7", "more than 1,000,000 values"],
        id="aliases of aliases",
        marks=pytest.mark.attack("config", "aliases that grow to billions of values", "a sentence with its line"),
    ),
    pytest.param(
        b"a: " + b"[" * 3000 + b"]" * 3000, ["nested more than 50 deep"],
        id="deep",
        marks=pytest.mark.attack("config", "three thousand lists in each other", "a sentence with its line"),
    ),
    pytest.param(b"[" * 100_000, ["nested too deeply"], id="deeper"),
    pytest.param(
        "a: é\n".encode("utf-16"), ["line 1", "UTF-16", "save the file as UTF-8"],
        id="UTF-16",
        marks=pytest.mark.attack("config", "a file in UTF-16", "a sentence with its line"),
    ),
    pytest.param("a: 1\n".encode("utf-16-le"), ["line 1", "control character"], id="UTF-16 without its mark"),
    pytest.param(
        b"a: 1\nb: caf\xe9\n", ["line 2", "0xe9", "no UTF-8"],
        id="cp1252",
        marks=pytest.mark.attack("config", "a file in cp1252", "a sentence with its line"),
    ),
    pytest.param(
        bytes(range(256)) * 4, ["line 2", "no UTF-8"], id="binary",
        marks=pytest.mark.attack("config", "a binary file", "a sentence with its line"),    ),
    pytest.param(
        b'a: "x\0"\n', ["line 1", r"control character '\x00'"],
        id="NUL",
        marks=pytest.mark.attack("config", "NUL and terminal orders in a file", "a sentence with its line"),
    ),
    pytest.param(b"a: \x1b[31m\n", ["line 1", r"control character '\x1b'"], id="ESC"),
    pytest.param(
        b"a: 1\n---\nb: 2\n", ["line 2", "second document"],
        id="documents",
        marks=pytest.mark.attack("config", "several documents", "a sentence with its line"),
    ),
    pytest.param(b"- a\n", ["line 1", "holds a list"], id="list"),
    pytest.param(b"hello\n", ["line 1", "one value"], id="text"),
    pytest.param(b"", ["line 1", "holds nothing"], id="empty"),
    pytest.param(b"# a remark\n", ["line 1", "holds nothing"], id="remarks alone"),
    pytest.param(b"a:\n\tb: 1\n", ["line 2", "a tab"], id="tab"),
    pytest.param(
        b"a: 1\nb: !!python/object/apply:os.system [touch x]\n", ["line 2", "!!python/object/apply:os.system"],
        id="python tag",
        marks=pytest.mark.attack("config", "a tag that would run a program", "a sentence with its line"),
    ),
    *(
        pytest.param(f"a: {value}\n".encode(), ["line 1", "has the tag", "leave it out"], id=value)
        for value in ("!!set {x, y}", "!!binary aGVsbG8=", "!!bool x", "!!int abc", "!!float x", "!own x", "!!map [1]")
    ),
    pytest.param(
        b"__use_yte__: true\na: ?1 + 1\n", ["YTE template", "runs code"],
        id="YTE",
        marks=pytest.mark.attack(
            "config", "a template (YTE) that runs code", "refused; Snakemake itself renders those of the command line"
        ),
    ),
    pytest.param(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ["Git LFS pointer", "git lfs pull"],
        id="LFS",
        marks=pytest.mark.attack("config", "a Git LFS pointer in place of the file", "a sentence with the fix"),
    ),
    pytest.param(b"a: 1:30\n", ["line 1", "1:30", "reads as 90"], id="sexagesimal"),
    pytest.param(b"a: 010\n", ["line 1", "010", "reads as 8"], id="octal"),
    pytest.param(b"a: 2020-01-01\n", ["line 1", "2020-01-01", "in quotes"], id="date"),
    pytest.param(b"a: " + b"9" * 5000, ["line 1", "5000 digits"], id="huge number"),
    pytest.param(b"? [a]\n: 1\n", ["line 1", "for a key"], id="list as a key"),
    pytest.param(b"a: *x\n", ["line 1", "undefined alias"], id="alias of nothing"),
    pytest.param(b"a: &x 1\nb: &x 2\n", ["line 2", "duplicate anchor"], id="anchor twice"),
    pytest.param(b"a: b: c\n", ["line 1", "no YAML"], id="two colons"),
    pytest.param(b"a: {<<: 3}\n", ["line 1", "merging"], id="merge of a number"),
    pytest.param(b"a" * 5_000_000, ["larger than 4 MiB"], id="large"),
]  # fmt: skip


@pytest.mark.parametrize("loader", ["fast", "plain"])
@pytest.mark.parametrize(("text", "parts"), BAD)
def test_what_is_no_config_file_is_told(
    text: bytes, parts: list[str], loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader == "plain":
        monkeypatch.setattr(strict_yaml, "Loader", yaml.SafeLoader)
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError) as caught:
        read_config_file(path)
    sentence = str(caught.value).replace(str(path), "config.yaml")
    assert [part for part in parts if part not in sentence] == [], sentence
    assert "\n" not in sentence and len(sentence) < 250 and sentence.isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"\xef\xbb\xbfa: 1\n", {"a": 1}),
        (b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        (b'{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        (b'\t{"a": 1}', {"a": 1}),
        (b"a: !!str 5\nb: '010'\nc: 0\nd: -12\ne: 1_000\n", {"a": "5", "b": "010", "c": 0, "d": -12, "e": 1000}),
        ("a: 赤い旗\r\nb: yes\r\n".encode(), {"a": "赤い旗", "b": True}),
        (b"---\na: 1\n...\n", {"a": 1}),
        (b"a: |\n  b: 1\n  b: 2\n", {"a": "b: 1\nb: 2\n"}),
    ],
)
def test_what_is_one_is_read_as_snakemake_reads_it(text: bytes, value: object, tmp_path: Path) -> None:
    from snakemake.common.configfile import load_configfile

    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    assert read_config_file(path) == value == load_configfile(path)


def test_shipped_configs_are_read_as_snakemake_reads_them() -> None:
    from snakemake.common.configfile import load_configfile

    folder = Path(__file__).parents[2] / "config"
    paths = sorted(folder.rglob("*.yaml"))
    assert len(paths) > 10
    for path in paths:
        assert read_config_file(path) == load_configfile(path), path


def test_target_in_the_place_of_a_config_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/table.csv").write_text("a: 1\n")
    with pytest.raises(SystemExit, match=r"given 'results/table.csv'.* write targets before it, or after --"):
        check_config_files([tmp_path / "results" / "table.csv"], None)
    # Where a job runs, the files of the command line may be gone.
    check_config_files([tmp_path / "gone.yaml"], "gone.yaml")
    Path("config.yaml").mkdir()
    with pytest.raises(SystemExit, match="is no file"):
        check_config_files([], "config.yaml")
