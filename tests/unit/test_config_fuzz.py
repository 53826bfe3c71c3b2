"""Configs and config files of any shape: each ends as tables or in one sentence, never in a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmin.runtime.errors import UserError, printable
from dmin.settings.schema import read_schema
from dmin.settings.strict_yaml import Loader, read_config_file
from dmin.workflow import tables
from dmin.workflow.tables import read_tables

PROJECT = Path(__file__).parents[2]
SHIPPED = [yaml.safe_load(path.read_text()) for path in sorted((PROJECT / "config").glob("*.yaml"))]
CONFIGS = [config for config in SHIPPED if "datasets" in config and "runs" in config]
SCHEMA = read_schema(PROJECT / "schemas" / "config.schema.yaml")

fixed = settings(
    derandomize=True,
    max_examples=1500,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(max_size=12) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "/",
        "~",
        "./x",
        "a/b",
        "a/b/c",
        "regex:(",
        "regex:.*",
        "all",
        "adapter",
        "dmin",
        "NaN",
        "1e-4",
        "null",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(2**60, 2**70) | st.floats() | texts
    | st.sampled_from([0, 1, -1, 2**31, 10**9, 0.5, "x" * 2000, "\x1b[31m", "a\0", "é\n"])
)  # fmt: skip
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value of a config."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, child in children for deeper in places(child, (*place, key)))]


def keys(entry: Any) -> set[str]:
    """Return every name of a key in the schema."""
    if isinstance(entry, list):
        return {name for child in entry for name in keys(child)}
    if not isinstance(entry, dict):
        return set()
    return set(entry.get("properties", {})) | {name for child in entry.values() for name in keys(child)}


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """Return a shipped config with up to four of its values replaced, dropped, moved or given another key."""
    config = copy.deepcopy(draw(st.sampled_from(CONFIGS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(places(config)[1:]))
        *above, last = place
        holder = config
        for key in above:
            holder = holder[key]
        kind = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add", "copy"]))
        if kind == "drop":
            del holder[last]
        elif kind == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(sorted(keys(SCHEMA))) | texts)] = draw(values)
        elif kind == "copy":
            holder[last] = copy.deepcopy(draw(st.sampled_from([config[name] for name in config] or [None])))
        else:
            holder[last] = draw(values)
        if not config:
            break
    return config


@fixed
@given(changed())
@pytest.mark.attack("config", "1,500 configs with values of any kind anywhere", "each is right or told in one sentence")
def test_config_ends_as_tables_or_in_a_sentence(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(tables, "read_schema", lambda _: SCHEMA)
    try:
        found = read_tables(config, PROJECT)
    except UserError as error:
        check_sentence(str(error))
    else:
        # What rules ask for at once: the files of every run.
        for run in found.runs.values():
            assert all(path.startswith("<results>/") and ".." not in path for path in run.influence.tops)


PIECES = st.sampled_from(
    [*"{}[]'\"#=~é\\\t\x85\ufeff\u2028", "runs", "datasets", ":", ": ", "\n", "\n  ", "- ", "&a ", "*a", "<<: *a", "? ",
     "!!str ", "!!python/none ", "|\n", ">-\n", "---\n", "...\n", "%YAML 1.2\n", "1", "1:30", "017", ".nan",
     "a: 1\n", "a: 1\n", "b: {c: [1, 2]}\n"]
)  # fmt: skip
files = (
    st.lists(PIECES, max_size=20).map(lambda parts: "".join(parts).encode("utf-8"))
    | st.binary(max_size=40)
    | st.lists(PIECES, max_size=8).map(lambda parts: "".join(parts).encode("utf-16"))
)


@fixed
@given(files)
@pytest.mark.attack("config", "1,500 files of bytes and pieces of YAML", "each is a mapping or told in one sentence")
def test_file_ends_as_a_mapping_or_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    try:
        value = read_config_file(path)
    except UserError as error:
        check_sentence(str(error).replace(str(path), "c.yaml"))
    else:
        assert isinstance(value, dict) and value == yaml.load(data.decode("utf-8-sig"), Loader)


def check_sentence(sentence: str) -> None:
    """Refuse what is no sentence for one line of a terminal."""
    assert printable(sentence, "") == sentence and len(sentence) < 1500, ascii(sentence)
    assert sentence.endswith((".", "?")) and "Traceback" not in sentence
