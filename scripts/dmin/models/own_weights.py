"""A user's own adapter or full model, in the place of one that is trained here."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from dmin.data.hub_errors import explain_hub_model
from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.gate.files import require_plain
from dmin.models.gate.words import reason
from dmin.models.load import load_family
from dmin.models.published_adapter import complete_adapter
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
    complete_adapter(find_adapter(own["path"], own["revision"]), own["alpha"], weights)
    family = load_family(base, CPU, ["denoiser"])
    try:
        family.load_adapter(weights.parent)
    except UserError as error:
        weights.unlink()
        # The copy is gone; the user knows the adapter by its path.
        raise UserError(str(error).replace(str(weights), own["path"])) from error
    parameters = sum(value.numel() for name, value in family.denoiser.named_parameters() if "lora_" in name)
    _describe("adapter", own, base, weights, parameters, description)


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
    _describe("full", own, base, weights, parameters, description)


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
    if len(present) > 1:
        raise UserError(f"Adapter '{path}' has both {' and '.join(NAMES)}; set weights.path to the file that is meant.")
    if not present:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".ckpt"))
        hint = f" ('{shown(pickles[0])}' can run code and is never read; convert it)" if pickles else ""
        raise UserError(
            f"Adapter '{path}' has no file {' or '.join(NAMES)}{hint}; set weights.path to the file itself."
        )
    require_plain(present[0], folder)
    return present[0]


def _describe(kind: str, own: OwnWeights, base: Base, weights: Path, parameters: int, description: Path) -> None:
    facts = {"finetune": kind, "own": own, "parameters": parameters, **describe_weights(weights), "base": base}
    write_json({**facts, "base_digest": base_digest(base), "versions": versions()}, description)
    log.info("%s '%s': %d parameters, digest %s", kind, own["path"], parameters, facts["weights"])
