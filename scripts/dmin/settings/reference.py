"""The reference part of config/README.md, written from the config schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_KINDS = {"string": "text", "null": "null", "boolean": "true or false", "array": "list"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Section:
    """The keys of one table: its place in the config, what it is, and its schema."""

    place: str
    description: str
    schema: Mapping[str, Any]


def render_reference(schema: Mapping[str, Any]) -> str:
    """Return a Markdown section for every table of the config, each key with type, default and description.

    Keys of nested tables are joined by dots; tables in a list, as a data set's sources, get a section of their own.
    """
    return "\n\n".join(_render_section(section, schema) for section in _sections(schema))


def _sections(root: Mapping[str, Any]) -> Iterator[Section]:
    for name, entry in root["properties"].items():
        table = _resolve(entry, root)
        if "properties" in table:
            yield from _with_lists(Section(name, table["description"], table), root)
        else:
            entries = _resolve(table["additionalProperties"], root)
            yield from _with_lists(Section(f"{name}.{{name}}", table["description"], entries), root)


def _with_lists(section: Section, root: Mapping[str, Any]) -> Iterator[Section]:
    """Yield a section and those of the tables that its lists hold."""
    yield section
    yield from _lists(section, root)


def _lists(table: Section, root: Mapping[str, Any]) -> Iterator[Section]:
    """Yield the sections of the tables that lists of a table, or of those within it, hold."""
    for key, entry in table.schema["properties"].items():
        entry = _resolve(entry, root)
        items = _resolve(entry.get("items", {}), root)
        place = f"{table.place}.{key}"
        if "properties" in items:
            yield from _with_lists(Section(f"{place}[]", entry["description"], items), root)
        elif "properties" in entry:
            yield from _lists(Section(place, entry["description"], entry), root)


def _render_section(section: Section, root: Mapping[str, Any]) -> str:
    lines = [
        f"### `{section.place}`",
        "",
        section.description,
        "",
        "| key | type | default | description |",
        "|---|---|---|---|",
    ]
    for key, entry, required in _keys(section.schema, root):
        if required:
            default = "required"
        else:
            default = f"`{json.dumps(entry['default'])}`" if "default" in entry else ""
        description = " ".join(entry["description"].split()).replace("|", "\\|")
        lines.append(f"| `{key}` | {_kind(entry, root)} | {default} | {description} |")
    return "\n".join(lines)


def _keys(
    table: Mapping[str, Any], root: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield every key of a table, its schema, and whether it must be given."""
    for name, entry in table["properties"].items():
        entry = _resolve(entry, root)
        if "properties" in entry:
            yield from _keys(entry, root, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry, name in table.get("required", [])


def _kind(entry: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "anyOf" in entry:
        return " or ".join(_kind(choice, root) for choice in entry["anyOf"])
    kinds: list[str] = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    text = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
    if "items" in entry:
        items = _resolve(entry["items"], root)
        text += " of tables" if "properties" in items else f" of {_kind(items, root)}"
    bounds = [f"{_BOUNDS[key]} {entry[key]}" for key in _BOUNDS if key in entry]
    return " ".join([text, ", ".join(bounds)]).strip()


def _resolve(entry: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference to a definition of the schema; what stands beside the reference wins."""
    if "$ref" not in entry:
        return entry
    name = entry["$ref"].removeprefix("#/$defs/")
    return {**_resolve(root["$defs"][name], root), **{key: value for key, value in entry.items() if key != "$ref"}}
