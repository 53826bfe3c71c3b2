"""The config schema: it checks a config, fills in defaults, and says in one sentence what is wrong."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from ..catalogue.behaviours import BEHAVIOURS
from ..catalogue.families import FAMILIES
from ..catalogue.methods import METHODS
from ..runtime.errors import UserError
from .config import Config

# What the annotation ``catalogue`` of a key stands for: the names that it admits.
CATALOGUES: Mapping[str, list[str]] = {
    "behaviours": list(BEHAVIOURS),
    "families": list(FAMILIES),
    "methods": list(METHODS),
    "objectives": sorted({name for family in FAMILIES.values() for name in family.objectives}, reverse=True),
}
# The tables of which an entry can be dropped.
_TABLES = ("datasets", "bases", "models", "runs", "banks", "games")


def read_schema(path: Path) -> dict[str, Any]:
    """Read the config schema; keys with ``catalogue: NAME`` get the names of that catalogue as their ``enum``."""
    schema: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    _name_choices(schema)
    return schema


def fill_config(given: Mapping[str, Any], schema: Mapping[str, Any]) -> Config:
    """Return a copy of a config with every default filled in.

    Entries of a table that are null are dropped, so that a config can drop what the one below it defines.

    Raises:
        UserError: it does not follow the schema; the sentence names the key, the value and the fix.
    """
    config = copy.deepcopy(dict(given))
    for table in _TABLES:
        if isinstance(config.get(table), dict):
            config[table] = {name: entry for name, entry in config[table].items() if entry is not None}
    errors = sorted(_Validator(schema).iter_errors(config), key=lambda error: len(error.absolute_path))
    if errors:
        raise UserError(_explain(jsonschema.exceptions.best_match(errors)))
    return cast(Config, config)


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


# JSON has one kind of number, so 3.0 would pass for an integer.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"properties": _fill_defaults},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)


def _explain(error: Any) -> str:
    """Say what is wrong with one config entry: the key, the value and the fix."""
    where = ".".join(str(part) for part in error.absolute_path) or "the top level"
    if "propertyNames" in error.absolute_schema_path:
        return f"{where} has the name {error.instance!r}; use letters, digits, - and _, and quote a number."
    explain = {
        "additionalProperties": _explain_unknown,
        "required": _explain_missing,
        "type": _explain_type,
        "enum": _explain_choice,
    }.get(error.validator)
    if explain is None:
        return f"{where}: {error.message.rstrip('.')}; correct it as config/README.md describes."
    return f"{where} {explain(error)}"


def _explain_unknown(error: Any) -> str:
    known = list(error.schema.get("properties", {}))
    unknown = min((key for key in error.instance if key not in known), key=str)
    near = difflib.get_close_matches(str(unknown), known, n=1)
    return f"has the unknown key '{unknown}'; " + (
        f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(known)}."
    )


def _explain_missing(error: Any) -> str:
    missing = next(key for key in error.validator_value if key not in error.instance)
    return f"lacks the key '{missing}'; add it."


def _explain_type(error: Any) -> str:
    wanted = error.validator_value
    wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
    hint = " (YAML reads 1e-4 as text; write 1.0e-4)" if wanted == "number" and isinstance(error.instance, str) else ""
    return f"is {error.instance!r}, but must be of type {wanted}{hint}."


def _explain_choice(error: Any) -> str:
    choices = [str(value) for value in error.validator_value]
    near = difflib.get_close_matches(str(error.instance), choices, n=3)
    # A list too long to read is cut to the names that may be meant.
    if len(choices) > 12 and near:
        return f"is {error.instance!r}; choose one of those in config/README.md, such as {', '.join(near)}."
    return f"is {error.instance!r}; choose one of {', '.join(choices)}."
