"""The types of settings against the schema: the same keys, as required and of the same types; values are of them."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
import yaml

from dmin.catalogue.families import FAMILIES
from dmin.catalogue.methods import METHODS
from dmin.runtime.errors import UserError
from dmin.settings.config import Config
from dmin.settings.schema import fill_config, read_schema

PROJECT = Path(__file__).parents[2]
SCHEMA = read_schema(PROJECT / "schemas" / "config.schema.yaml")
# Those that stand alone.
CONFIGS = [path for path in sorted((PROJECT / "config").rglob("*.yaml")) if "\ndatasets:" in path.read_text()]
SCALARS = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}


def resolve(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in entry:
        return entry
    return {**resolve(SCHEMA["$defs"][entry["$ref"].removeprefix("#/$defs/")]), **entry}


def schema_types(entry: Mapping[str, Any]) -> set[str]:
    """Return the types that a key of the schema admits, by name."""
    entry = resolve(entry)
    if "anyOf" in entry:
        return set().union(*(schema_types(choice) for choice in entry["anyOf"]))
    if "const" in entry:
        return {type(entry["const"]).__name__}
    if "enum" in entry:
        return {type(value).__name__ for value in entry["enum"]}
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    names = {"array": "list", "object": "dict"} | {kind: SCALARS[kind].__name__ for kind in SCALARS}
    return {names[kind] for kind in kinds}


def members(hint: Any) -> list[Any]:
    """Return the alternatives of a hint of a type."""
    hint = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def hinted_types(hint: Any) -> set[str]:
    found = set()
    for member in members(hint):
        if get_origin(member) is Literal:
            found |= {type(value).__name__ for value in get_args(member)}
        elif is_typeddict(member):
            found.add("dict")
        else:
            found.add((get_origin(member) or member).__name__)
    return found


def keys(kind: Any, schema: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any, Mapping[str, Any], Any]]:
    """Yield every key of a typed section and of those in it: its place, the section's type, its schema and its hint."""
    hints = get_type_hints(kind, include_extras=True)
    assert list(hints) == list(schema["properties"]), place
    for name, entry in schema["properties"].items():
        yield f"{place}{name}", kind, resolve(entry), hints[name]
        yield from inner(hints[name], resolve(entry), f"{place}{name}.")


def inner(hint: Any, entry: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any, Mapping[str, Any], Any]]:
    for member in members(hint):
        if is_typeddict(member):
            yield from keys(member, entry, place)
        elif get_origin(member) is list and "items" in entry:
            yield from inner(get_args(member)[0], resolve(entry["items"]), place)
        elif get_origin(member) is dict and "additionalProperties" in entry:
            yield from inner(get_args(member)[1], resolve(entry["additionalProperties"]), place)


KEYS = {place: (kind, entry, hint) for place, kind, entry, hint in keys(Config, SCHEMA, "")}


def test_every_key_is_compared() -> None:
    assert len(KEYS) > 150
    assert {"runs.influence.hnsw.ef", "datasets.sources.rows", "banks.exclude", "plan.throughput"} <= set(KEYS)


@pytest.mark.parametrize("place", KEYS)
def test_key_has_the_type_of_the_schema(place: str) -> None:
    _, entry, hint = KEYS[place]
    assert hinted_types(hint) == schema_types(entry)
    for member in members(hint):
        if get_origin(member) is list and not is_typeddict(get_args(member)[0]):
            assert hinted_types(get_args(member)[0]) == schema_types(entry["items"])
        if get_origin(member) is Literal and "enum" in entry and "catalogue" not in entry:
            assert sorted(get_args(member)) == sorted(entry["enum"])


@pytest.mark.parametrize("place", KEYS)
def test_key_is_there_where_its_type_says_so(place: str) -> None:
    # Once defaults are filled in, only a key without one that need not be given may be missing.
    _, entry, hint = KEYS[place]
    parent, _, name = place.rpartition(".")
    section = resolve(KEYS[parent][1]) if parent else SCHEMA
    if "additionalProperties" in section and section["additionalProperties"] is not False:
        section = resolve(section["additionalProperties"])
    section = resolve(section["items"]) if "items" in section else section
    always = "default" in entry or name in section.get("required", [])
    assert (get_origin(hint) is NotRequired) == (not always)


def problems(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Yield the places of what is not of its type."""
    if not any(fits(value, member) for member in members(hint)):
        yield f"{place} is {value!r}"
        return
    for member in members(hint):
        if is_typeddict(member) and isinstance(value, dict):
            hints = get_type_hints(member, include_extras=True)
            for name, child in value.items():
                yield from problems(child, hints[name], f"{place}.{name}")
        elif get_origin(member) is list and isinstance(value, list):
            for child in value:
                yield from problems(child, get_args(member)[0], place)
        elif get_origin(member) is dict and isinstance(value, dict):
            for name, child in value.items():
                yield from problems(child, get_args(member)[1], f"{place}.{name}")


def fits(value: Any, member: Any) -> bool:
    if get_origin(member) is Literal:
        return value in get_args(member)
    if is_typeddict(member):
        return isinstance(value, dict)
    if member is float:
        return type(value) in (int, float)
    return type(value) is (get_origin(member) or member)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_values_of_a_config_are_of_their_types(path: Path) -> None:
    config = fill_config(yaml.safe_load(path.read_text()), SCHEMA)
    assert list(problems(config, Config, "config")) == []


def test_value_of_another_type_is_found() -> None:
    config: Any = fill_config({"compute": {"threads": 3}}, SCHEMA)
    config["compute"]["threads"] = "3"
    assert list(problems(config, Config, "config")) == ["config.compute.threads is '3'"]


def test_choices_follow_from_the_catalogue() -> None:
    run, base = SCHEMA["$defs"]["run"]["properties"], SCHEMA["$defs"]["base"]["properties"]
    assert run["influence"]["properties"]["methods"]["items"]["enum"] == list(METHODS)
    assert base["family"]["enum"] == list(FAMILIES)
    assert run["gradients"]["properties"]["objective"]["enum"] == ["training", "reference"]


def test_filling_leaves_the_given_config_alone() -> None:
    given = {"datasets": None, "runs": {"gone": None}}
    given["datasets"] = {}
    assert fill_config(given, SCHEMA)["runs"] == {}
    assert given == {"datasets": {}, "runs": {"gone": None}}


def test_entries_of_every_table_can_be_dropped() -> None:
    tables = [name for name, entry in SCHEMA["properties"].items() if "propertyNames" in entry]
    assert len(tables) == 8
    filled: Any = fill_config({name: {"gone": None} for name in tables}, SCHEMA)
    assert {name: filled[name] for name in tables} == {name: {} for name in tables}


def test_unknown_method_is_refused_with_its_neighbours() -> None:
    given = {"runs": {"a": {"model": "m", "influence": {"methods": ["dmni"]}}}}
    with pytest.raises(
        UserError, match=r"runs\.a\.influence\.methods\.0 is 'dmni'; choose one of those .* such as dmin"
    ):
        fill_config(given, SCHEMA)
