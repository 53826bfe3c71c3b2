"""Config files read strictly: what a reader of YAML would let pass and people do not mean is refused with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..runtime.errors import UserError, one_line
from ..runtime.text import TwiceError, is_lfs_pointer, unique_keys

# libyaml is ten times as fast; PyYAML is built without it on some machines.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LARGEST_BYTES = 4 * 2**20
DEEPEST = 50
MOST_VALUES = 1_000_000
LONGEST_NUMBER = 100
_INT, _FLOAT, _MERGE, _STR, _TIME, _VALUE = (
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "merge", "str", "timestamp", "value")
)
# Tags that may be written: none, and that of text.
_WRITTEN = (None, "!", _STR)
# YAML 1.1 reads 1:30 as 90 and 010 as 8.
_SURPRISING = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds.

    Raises:
        UserError: it is no text in UTF-8, no single document with plain keys at the top, a key stands twice, an anchor
            holds itself, or a tag asks for more than text, numbers, lists and mappings; the line is named.
    """
    try:
        text = _decode(path, _read(path))
        value = _read_json(path, text)
        return _read_yaml(path, text) if value is None else value
    except RecursionError:
        raise UserError(f"'{path}' is nested too deeply; write it flatter.") from None


def read_yaml(path: Path) -> Any:
    """Return what a YAML file of the project itself holds."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"'{path}' is no file; --configfile takes YAML files, and targets stand before it or after --.")
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise UserError(f"'{path}' is larger than {LARGEST_BYTES >> 20} MiB, which no config is; correct the name.")
    if is_lfs_pointer(data):
        raise UserError(f"'{path}' is a Git LFS pointer in place of the file; fetch it with git lfs pull.")
    return data


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"'{path}', line 1, is UTF-16 or UTF-32; save the file as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"'{path}', line {line}, has the byte 0x{data[error.start]:02x}, which is no UTF-8; save the file as UTF-8."
        ) from None
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(f"'{path}', line {line}, holds the control character {found.group()!r}; remove it.")
    return text


def _read_json(path: Path, text: str) -> dict[str, Any] | None:
    """Return the mapping of a JSON file, None where it is none; Snakemake tries JSON first too."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text, object_pairs_hook=unique_keys)
    except TwiceError as error:
        raise UserError(f"'{path}' has the key {str(error)!r} twice in one table; remove one of the two.") from None
    except ValueError:
        return None
    return _require_mapping(path, value)


def _read_yaml(path: Path, text: str) -> dict[str, Any]:
    try:
        _check_events(path, text)
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _check_node(path, loader, node, set())
            return _require_mapping(path, None if node is None else loader.construct_document(node))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise UserError(f"'{path}'{_explain(error, text)}; correct it.") from None
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is no YAML ({one_line(str(error))}); correct it.") from None
    except ValueError as error:
        raise UserError(f"'{path}' holds a value that YAML cannot read ({one_line(str(error))}); correct it.") from None


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say where and why a text is no YAML."""
    mark = error.problem_mark or error.context_mark
    problem = one_line(", ".join(part for part in (error.context, error.problem) if part))
    if mark is None:
        return f" is no YAML ({problem})"
    lines = text.split("\n")
    if mark.line < len(lines) and "\t" in re.match(r"\s*", lines[mark.line]).group():  # type: ignore[union-attr]
        problem = "a tab stands where blanks must"
    return f", line {mark.line + 1}, is no YAML ({problem})"


def _require_mapping(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = {list: "a list", type(None): "nothing"}.get(type(value), "one value")
        raise UserError(f"'{path}', line 1, holds {kind}; write keys and their values at the top of it.")
    if "__use_yte__" in value:
        raise UserError(f"'{path}' is a YTE template (__use_yte__), which runs code; write plain YAML.")
    return value


def _check_events(path: Path, text: str) -> None:
    """Check what must be known before a tree is built: depth, documents, aliases of what is still open."""
    opened: list[str | None] = []
    sizes: dict[str | None, int] = {}
    starts: list[int] = []
    documents = values = 0
    event: Any
    for event in yaml.parse(text, Loader):
        line = event.start_mark.line + 1
        written = getattr(event, "tag", None)
        if written not in _WRITTEN:
            tag = one_line(written.replace("tag:yaml.org,2002:", "!!"))
            raise UserError(f"'{path}', line {line}, has the tag {tag}, and no config needs one; leave it out.")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UserError(f"'{path}', line {line}, begins a second document; keep one, without the line ---.")
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in opened:
                raise UserError(
                    f"'{path}', line {line}, has the alias *{event.anchor} within its own anchor; write it out."
                )
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append(event.anchor)
            starts.append(values)
            if len(opened) > DEEPEST:
                raise UserError(f"'{path}', line {line}, is nested more than {DEEPEST} deep; write it flatter.")
        elif isinstance(event, yaml.CollectionEndEvent):
            sizes[opened.pop()] = values - starts.pop() + 1
        if values > MOST_VALUES:
            raise UserError(
                f"'{path}', line {line}, repeats its anchors to more than {MOST_VALUES:,} values; write less."
            )


def _check_node(path: Path, loader: Any, node: Any, seen: set[int]) -> None:
    """Refuse keys that stand twice, and values that are read as something else than they look like."""
    if id(node) in seen:
        return
    seen.add(id(node))
    line = node.start_mark.line + 1
    if node.tag in (_TIME, _VALUE):
        raise UserError(f"'{path}', line {line}, has {node.value}, which YAML takes for no text; put it in quotes.")
    if node.tag in (_INT, _FLOAT):
        _check_number(path, loader, node)
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_node(path, loader, child, seen)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(path, loader, node)
        for key, child in node.value:
            _check_node(path, loader, key, seen)
            _check_node(path, loader, child, seen)


def _check_number(path: Path, loader: Any, node: Any) -> None:
    place = f"'{path}', line {node.start_mark.line + 1},"
    if len(node.value) > LONGEST_NUMBER:
        raise UserError(f"{place} has a number of {len(node.value)} digits; correct it.")
    if _SURPRISING.fullmatch(node.value):
        raise UserError(
            f"{place} has {node.value}, which YAML reads as {loader.construct_object(node)}; write the number in full, "
            "or put text in quotes."
        )


def _check_keys(path: Path, loader: Any, node: Any) -> None:
    lines: dict[Any, int] = {}
    for key, line in [*_keys(path, loader, node), *_merged_keys(path, loader, node)]:
        if key in lines:
            raise UserError(
                f"'{path}', line {line}, has the key {key!r} again, which stands in line {lines[key]} already; remove "
                "one of the two."
            )
        lines[key] = line


def _keys(path: Path, loader: Any, node: Any) -> Iterator[tuple[Any, int]]:
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"'{path}', line {line}, has a list or a table for a key; write a name.")
        yield ("<<" if key.tag == _MERGE else loader.construct_object(key)), line


def _merged_keys(path: Path, loader: Any, node: Any) -> Iterator[tuple[Any, int]]:
    """Yield the keys that several tables merged into one bring, but for those that the table itself overrides."""
    own = {key for key, _ in _keys(path, loader, node)}
    for key, value in node.value:
        if key.tag == _MERGE and isinstance(value, yaml.SequenceNode):
            for table in value.value:
                if isinstance(table, yaml.MappingNode):
                    yield from ((name, line) for name, line in _keys(path, loader, table) if name not in own)
