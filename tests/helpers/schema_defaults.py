"""Settings as the config schema fills them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from dmin.attribution.significance import ListSettings
from dmin.catalogue.methods import METHODS
from dmin.settings.runs import Options
from dmin.workflow.values import pick

SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))


def options(**changes: Any) -> Options:
    """Return the options of methods, every default filled in, with ``changes`` whatever the schema says of them."""
    entries = SCHEMA["$defs"]["run"]["properties"]["influence"]["properties"]["options"]["properties"]
    return cast(Options, {name: entry["default"] for name, entry in entries.items()} | changes)


def options_of(method: str, *more: str, **changes: Any) -> Options:
    """Return those that a rule gives to a job of a method, and ``more``."""
    return cast(Options, pick(options(**changes), *{*METHODS[method].options, *more}))


def lists(**changes: Any) -> ListSettings:
    """Return the settings of ranked lists, every default filled in, of queries whose subsets are known."""
    run = SCHEMA["$defs"]["run"]["properties"]
    influence = run["influence"]["properties"]
    settings = {
        "top_k": influence["top_k"]["default"],
        "fdr": influence["significance"]["properties"]["fdr"]["default"],
        "confidence": run["evaluation"]["properties"]["confidence"]["default"],
        "subsets_known": True,
        "own_images": False,
    }
    return cast(ListSettings, settings | changes)
