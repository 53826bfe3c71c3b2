"""Loading a pretrained or a trained model of any family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from dmin.catalogue.families import FAMILIES
from dmin.data.hub_errors import explain_hub_model
from dmin.models.families.family import Family
from dmin.runtime.digests import weights_digest
from dmin.runtime.errors import UserError


def load_trained(base: Mapping[str, Any], weights: Path, device: torch.device, parts: Sequence[str]) -> Family:
    """Load a trained model: ``base`` with the adapter file ``weights``, or the pipeline folder ``weights``.

    Raises:
        UserError: as :func:`load_family`, the adapter does not fit the base, or the weights are not those that
            ``model.json`` beside them describes.
    """
    beside = weights.parent / "model.json"
    if beside.exists() and json.loads(beside.read_text()).get("weights", "") != weights_digest(weights):
        raise UserError(f"Weights '{weights}' are torn (not those of '{beside}'); delete both and run again.")
    if weights.is_dir():
        return load_family({**base, "path": str(weights), "revision": None}, device, parts)
    family = load_family(base, device, parts)
    family.load_adapter(weights.parent)
    return family


def load_family(config: Mapping[str, Any], device: torch.device, parts: Sequence[str]) -> Family:
    """Load the base pipeline of ``config`` (``family``, ``path``, ``revision``).

    Raises:
        UserError: no such family, or the pipeline cannot be loaded.
    """
    if config["family"] not in FAMILIES:
        raise UserError(f"family '{config['family']}' is unknown; choose one of {', '.join(sorted(FAMILIES))}.")
    entry = FAMILIES[config["family"]]
    family: type[Family] = getattr(import_module(entry.module), entry.kind)
    try:
        loaded = family.load(config["path"], config["revision"], device, parts)
        loaded.base, loaded.revision = config["path"], config["revision"]
        return loaded
    except OSError as error:
        told = explain_hub_model("Base", config["path"], config["revision"], error)
        if told is not None:
            raise told from error
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"Base '{config['path']}' cannot be loaded ({detail}); set path to a folder in the diffusers format or "
            "a model on the hub."
        ) from error
