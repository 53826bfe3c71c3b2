"""The config schema: it checks a config, fills in defaults, and says in one sentence what is wrong."""

from __future__ import annotations

import copy
import difflib
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema

from ..catalogue.behaviours import BEHAVIOURS
from ..catalogue.families import FAMILIES
from ..catalogue.methods import LINEAR_METHODS, METHODS
from ..runtime.errors import UserError, is_order, one_line
from .config import Config
from .strict_yaml import read_yaml

# What the annotation ``catalogue`` of a key stands for: the names that it admits.
CATALOGUES: Mapping[str, list[str]] = {
    "behaviours": list(BEHAVIOURS),
    "families": list(FAMILIES),
    "linear": ["auto", *LINEAR_METHODS],
    "methods": list(METHODS),
    "objectives": sorted({name for family in FAMILIES.values() for name in family.objectives}, reverse=True),
}
# The tables of which an entry can be dropped.
_TABLES = ("datasets", "bases", "models", "runs", "banks", "games", "base_training", "classifier_training")
# Texts that may have several lines.
_PROSE = ("prompts",)
# Numbers with an exponent to everyone but YAML 1.1.
_EXPONENT = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")
_LONGEST, _LARGEST = 1000, 2**63 - 1
# Far more than a user mistypes.
_MOST_MENDED = 100
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist, _short.maxlevel = 8, 3


def read_schema(path: Path) -> dict[str, Any]:
    """Read the config schema; keys with ``catalogue: NAME`` get the names of that catalogue as their ``enum``."""
    schema: dict[str, Any] = read_yaml(path)
    _name_choices(schema)
    return schema


def fill_config(given: Mapping[str, Any], schema: Mapping[str, Any]) -> Config:
    """Return a copy of a config with every default filled in.

    Entries of a table that are null are dropped, so that a config can drop what the one below it defines.

    Raises:
        UserError: it does not follow the schema, or a text holds a control character; the sentence names the key, the
            value and the fix.
    """
    try:
        return _fill(copy.deepcopy(dict(given)), schema)
    except RecursionError:
        raise UserError("The config holds itself or is nested too deeply; write it flatter.") from None


def mend_config(given: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a config without what the schema refuses, so that the rest can be examined, and a sentence for each.

    A key that has to be there and is not, or whose value is refused, stays for :func:`fill_config` to refuse.
    """
    told = list[str]()
    try:
        config = _drop_nulls(copy.deepcopy(dict(given)))
        for _ in range(_MOST_MENDED):
            # Of a copy, for defaults are filled in as it is read.
            best = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(copy.deepcopy(config)))
            if best is None or not _leave_out(config, best):
                break
            told.append(_explain(best))
    except RecursionError:
        return dict(given), []
    return config, told


def _leave_out(config: dict[str, Any], error: Any) -> bool:
    """Take the value that an error is about out of a config; return whether it is one that can be left out."""
    place = list(error.absolute_path)
    if error.validator == "additionalProperties":
        place.append(_unknown(error))
    elif not place or error.validator == "required":
        return False
    holder: Any = config
    try:
        for key in place[:-1]:
            holder = holder[key]
        del holder[place[-1]]
    except (LookupError, TypeError):
        return False
    return True


def _fill(config: dict[str, Any], schema: Mapping[str, Any]) -> Config:
    config = _drop_nulls(config)
    for place, value in _leaves(config):
        _refuse_strange(place, value)
    errors = sorted(_Validator(schema).iter_errors(config), key=lambda error: len(error.absolute_path))
    if errors:
        raise UserError(_explain(jsonschema.exceptions.best_match(errors)))
    return cast(Config, config)


def _drop_nulls(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config without the entries of tables that are null."""
    kept = dict(config)
    for table in _TABLES:
        if isinstance(config.get(table), dict):
            kept[table] = {name: entry for name, entry in config[table].items() if entry is not None}
    return kept


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value of a config that holds no others, keys among them, with its place."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield place, key
            yield from _leaves(child, (*place, key if isinstance(key, str) else _value(key)))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _leaves(child, (*place, str(number)))
    else:
        yield place, value


def _refuse_strange(place: tuple[str, ...], value: Any) -> None:
    """Refuse what no key takes: numbers beyond reason, texts without end or with orders to a terminal."""
    if type(value) is int and abs(value) > _LARGEST:
        raise UserError(f"{_join(place)} is {_value(value)}, which is too large; lower it.")
    if not isinstance(value, str):
        return
    prose = bool(set(_PROSE) & set(place))
    if len(value) > _LONGEST and not prose:
        raise UserError(f"{_join(place)} has a text of {len(value)} characters; shorten it to {_LONGEST}.")
    for char in value:
        if is_order(char) and not (prose and char in "\n\t"):
            raise UserError(f"{_join(place)} holds the control character {char!a}, in {_value(value)}; remove it.")


def _name_choices(entry: Any) -> None:
    if isinstance(entry, dict):
        if isinstance(entry.get("catalogue"), str):
            entry["enum"] = CATALOGUES[entry["catalogue"]]
        for child in entry.values():
            _name_choices(child)
    elif isinstance(entry, list):
        for child in entry:
            _name_choices(child)


def _fill_defaults(validator: Any, properties: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for key, entry in properties.items():
            if "default" in entry:
                instance.setdefault(key, copy.deepcopy(entry["default"]))
    yield from jsonschema.Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


def _match(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    # Wholly: to a search, $ stands before a last end of line too.
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _is_integer(_: Any, value: Any) -> bool:
    # JSON has one kind of number, so 3.0 would pass.
    return type(value) is int and abs(value) <= _LARGEST


def _is_number(_: Any, value: Any) -> bool:
    return _is_integer(_, value) or (type(value) is float and math.isfinite(value))


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"properties": _fill_defaults, "pattern": _match},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def _value(value: Any) -> str:
    """Return a value as a sentence shows it: on one line, cut where it is long."""
    try:
        text = one_line(_short.repr(value))
    except ValueError:
        return "a number of more digits than Python writes"
    return text if len(text) <= 400 else f"{text[:300]}...{text[-50:]}"


def _join(place: Any) -> str:
    """Return the place of a key, joined by dots and fit for one line."""
    text = one_line(".".join(str(part) for part in place)) or "the top level"
    return text if len(text) <= 160 else f"{text[:100]}...{text[-50:]}"


def _cut(name: Any) -> str:
    text = one_line(name) if isinstance(name, str) else _value(name)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}"


def _explain(error: Any) -> str:
    """Say what is wrong with one config entry: the key, the value and the fix."""
    where = _join(error.absolute_path)
    named = error.validator == "pattern" and "{0,63}" in error.validator_value
    if named or "propertyNames" in error.absolute_schema_path:
        return (
            f"{where} has the name {_value(error.instance)}; use letters, digits, - and _, at most 64 of them, and "
            "quote a number."
        )
    explain = {
        "additionalProperties": _explain_unknown,
        "required": _explain_missing,
        "type": _explain_type,
        "enum": _explain_choice,
    }.get(error.validator)
    if explain is None:
        message = one_line(error.message.rstrip("."))
        if len(message) > 160:
            message = f"{_value(error.instance)} is refused by its {error.validator}"
        return f"{where}: {message}; correct it as config/README.md describes."
    return f"{where} {explain(error)}"


def _unknown(error: Any) -> Any:
    known = error.schema.get("properties", {})
    return min((key for key in error.instance if key not in known), key=_cut)


def _explain_unknown(error: Any) -> str:
    known, unknown = list(error.schema.get("properties", {})), _unknown(error)
    near = difflib.get_close_matches(str(unknown)[:80], known, n=1)
    return f"has the unknown key '{_cut(unknown)}'; " + (
        f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(known)}."
    )


def _explain_missing(error: Any) -> str:
    missing = next(key for key in error.validator_value if key not in error.instance)
    return f"lacks the key '{missing}'; add it."


def _explain_type(error: Any) -> str:
    wanted = error.validator_value
    wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
    exponent = isinstance(error.instance, str) and _EXPONENT.fullmatch(error.instance)
    hint = " (YAML reads 1e-4 as text; write 1.0e-4)" if wanted == "number" and exponent else ""
    if isinstance(error.instance, float) and not math.isfinite(error.instance):
        return f"is {error.instance}, but must be a finite number; correct it."
    return f"is {_value(error.instance)}, but must be of type {wanted}{hint}."


def _explain_choice(error: Any) -> str:
    choices = [str(value) for value in error.validator_value]
    near = difflib.get_close_matches(str(error.instance)[:80], choices, n=3)
    # A list too long to read is cut to the names that may be meant.
    if len(choices) > 12 and near:
        return f"is {_value(error.instance)}; choose one of those in config/README.md, such as {', '.join(near)}."
    return f"is {_value(error.instance)}; choose one of {', '.join(choices)}."
