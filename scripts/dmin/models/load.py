"""Loading a pretrained or a trained model of any family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from dmin.catalogue.families import FAMILIES
from dmin.data.hub_errors import explain_hub_model
from dmin.models.families.family import Family
from dmin.models.gate.words import reason
from dmin.runtime.digests import are_described, base_digest, weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json
from dmin.settings.models import Base


@dataclass(frozen=True)
class TrainedModel:
    """A model: ``base`` with the adapter file ``weights``, or the pipeline folder ``weights`` in its place."""

    base: Base
    weights: Path

    @property
    def pipeline(self) -> Base:
        """The pipeline that it is a part of: the base, or the whole model in its place."""
        if not self.weights.is_dir():
            return self.base
        return {**self.base, "path": str(self.weights), "revision": None}

    def digests(self) -> dict[str, str]:
        """Return digests of the ``base`` and the ``weights``."""
        return {"base": base_digest(self.base), "weights": weights_digest(self.weights)}


def load_trained(model: TrainedModel, device: torch.device, parts: Sequence[str]) -> Family:
    """Load the ``parts`` (``encoders``, ``denoiser``) of a trained model.

    Raises:
        UserError: as :func:`load_family`, the adapter does not fit the base, or the weights are not those that
            ``model.json`` beside them describes.
    """
    beside = model.weights.parent / "model.json"
    if beside.exists() and not are_described(model.weights, {"weights": "", **read_json(beside)}):
        raise UserError(f"Weights '{model.weights}' are torn (not those of '{beside}'); delete both and run again.")
    family = load_family(model.pipeline, device, parts)
    if not model.weights.is_dir():
        family.load_adapter(model.weights.parent)
    return family


def load_family(base: Base, device: torch.device, parts: Sequence[str]) -> Family:
    """Load the ``parts`` of a base pipeline, as :class:`Family` has them.

    Raises:
        UserError: no such family, or the pipeline cannot be loaded.
    """
    if base["family"] not in FAMILIES:
        raise UserError(f"family '{base['family']}' is unknown; choose one of {', '.join(sorted(FAMILIES))}.")
    entry = FAMILIES[base["family"]]
    family: type[Family] = getattr(import_module(entry.module), entry.kind)
    try:
        return family(base, device, parts)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # Libraries raise whatever they like over a stranger's files; all of it means that these cannot be loaded.
        told = explain_hub_model("Base", base["path"], base["revision"], error)
        if told is not None:
            raise told from error
        raise UserError(
            f"Base '{base['path']}' cannot be loaded ({reason(error)}); set path to a folder in the diffusers format, "
            "its weights in safetensors, or to such a model on the hub."
        ) from error
