"""A user's own adapter or full model, in the place of one that is trained here."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from dmin.data.hub_errors import explain_hub_model
from dmin.models.adapter_file import ADAPTER_FILE, read_adapter
from dmin.models.adapter_layers import adapter_parameters
from dmin.models.gate.files import require_plain
from dmin.models.gate.words import reason
from dmin.models.load import load_family
from dmin.models.published_adapter import complete_adapter
from dmin.models.trainer_metadata import read_trainer_metadata, require_base
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import base_digest, describe_weights
from dmin.runtime.errors import UserError
from dmin.runtime.provenance import versions
from dmin.runtime.text import shown
from dmin.settings.models import Base, OwnWeights

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
# As diffusers and PEFT name an adapter in its folder.
NAMES = (ADAPTER_FILE, "adapter_model.safetensors")


def import_adapter(own: OwnWeights, base: Base, weights: Path, description: Path) -> None:
    """Write the adapter ``own`` with its scale to ``weights``, once it is found to fit ``base``.

    Args:
        own: ``path`` (a file, a folder, or a repository on the hub), ``revision`` and ``alpha``, None where it says its
            own.

    Raises:
        UserError: as :func:`complete_adapter`; or there is no adapter, it is for another base, or the hub does not give
            it.
    """
    source = find_adapter(own["path"], own["revision"])
    said = read_trainer_metadata(source)
    require_base(source, said, base["family"])
    family = load_family(base, CPU, ["denoiser"])
    try:
        complete_adapter(source, own["alpha"], weights, family)
        # Those that it changes stay loaded while they are held.
        encoders = [family.text_encoder_of(part) for part in read_adapter(weights) if part]
        family.load_adapter(weights.parent)
        del encoders
    except UserError as error:
        weights.unlink(missing_ok=True)
        # The copy is gone; the user knows the adapter by its path.
        told = str(error).replace(str(weights), own["path"])
        if said.base_name or said.base:
            trained_on = f"it says that it was trained on {shown(said.base_name or said.base)}."
            told = told.replace("train it on this base.", trained_on)
        raise UserError(told) from error
    parameters = sum(value.numel() for value in adapter_parameters(family.denoiser).values())
    if said.told():
        log.info("adapter '%s' says of its training: %s", own["path"], json.dumps(said.told(), ensure_ascii=False))
    _describe("adapter", own, base, weights, description, {"parameters": parameters, "trainer": said.told()})


def import_pipeline(own: OwnWeights, base: Base, weights: Path, description: Path) -> None:
    """Write the full model ``own``, of the family of ``base``, to the pipeline folder ``weights``.

    Args:
        own: ``path`` (a folder in the diffusers format, or a model on the hub) and ``revision``.

    Raises:
        UserError: it cannot be loaded, or a part of it has no weights.
    """
    family = load_family({**base, "path": own["path"], "revision": own["revision"]}, CPU, ["denoiser"])
    family.require_parts()
    folder = weights.with_name(f".{weights.name}")
    shutil.rmtree(folder, ignore_errors=True)
    family.save_pipeline(folder)
    shutil.rmtree(weights, ignore_errors=True)
    folder.replace(weights)
    parameters = sum(value.numel() for value in family.denoiser.parameters())
    _describe("full", own, base, weights, description, {"parameters": parameters})


def find_adapter(path: str, revision: str | None) -> Path:
    """Return the file of the adapter at ``path``: itself, the one in a folder, or the one in a repository on the hub.

    Raises:
        UserError: there is none, or the hub does not give it.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        # The user named this very file, wherever it leads.
        require_plain(folder.resolve(), folder.resolve().parent)
        return folder
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(path, revision=revision, allow_patterns=[*NAMES, "adapter_config.json"]))
        except (OSError, ValueError) as error:
            told = explain_hub_model("Adapter", path, revision, error)
            raise told or UserError(
                f"Adapter '{path}' cannot be downloaded ({reason(error)}); correct its path."
            ) from error
    present = [folder / name for name in NAMES if (folder / name).exists() or (folder / name).is_symlink()]
    # Most trainers name the file as the user likes.
    present = present or sorted(folder.glob("*.safetensors"))
    if len(present) > 1:
        both = " and ".join(shown(file.name) for file in present[:2])
        raise UserError(f"Adapter '{path}' has both {both}; set weights.path to the file that is meant.")
    if not present:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".ckpt"))
        hint = f" ('{shown(pickles[0])}' can run code and is never read; convert it)" if pickles else ""
        raise UserError(
            f"Adapter '{path}' has no file {' or '.join(NAMES)}{hint}; set weights.path to the file itself."
        )
    require_plain(present[0], folder)
    return present[0]


def _describe(
    kind: str, own: OwnWeights, base: Base, weights: Path, description: Path, facts: Mapping[str, Any]
) -> None:
    made = {"finetune": kind, "own": own, **facts, **describe_weights(weights), "base": base}
    write_json({**made, "base_digest": base_digest(base), "versions": versions()}, description)
    log.info("%s '%s': %d parameters, digest %s", kind, own["path"], facts["parameters"], made["weights"])
