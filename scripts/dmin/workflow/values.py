"""Values as jobs get them: what a job depends on and no more, in one form whatever the config's order of keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> Any:
    """Return a copy whose mappings are sorted, so that the order of keys in the config never reruns anything."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    return [canonical(entry) for entry in value] if isinstance(value, list) else value


def page_text(value: Any) -> str:
    """Return a value as JSON that is plain text wherever it is shown; ``json.loads`` gives it back.

    Snakemake writes the params of reported jobs into a script of the report, where markup in them would be run.
    """
    text = json.dumps(value, sort_keys=True)
    for char in "<>&'":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def pick(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the settings under ``keys`` alone."""
    return {key: settings[key] for key in sorted(keys)}


def leave_out(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the settings without those under ``keys``."""
    return {key: value for key, value in settings.items() if key not in keys}
