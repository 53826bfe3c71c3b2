"""Adapters that were published without their alpha.

``python -m dmin.models.published_adapter FILE --alpha 8 --out FOLDER`` writes one that loads with the scale of its
training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dmin.models.adapter_file import SETTINGS, canonicalise_adapter
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError

_PREFIXES = ("transformer.", "unet.", "base_model.model.")
_PARTS = (".lora_A.weight", ".lora_B.weight")


def complete_adapter(source: Path, alpha: int | None, out: Path) -> None:
    """Write the adapter ``source`` to ``out`` with its rank and alpha, named as the denoiser names its layers.

    ``alpha`` None takes what the file says, or the ``adapter_config.json`` of PEFT beside it.

    diffusers used to save adapters without alpha and then loads them as if it were the rank: an adapter of rank 4 and
    alpha 8 acts with scale 1 in place of 2. Pipelines also put ``transformer.`` or ``unet.`` before every name.

    Raises:
        UserError: the file is torn, is no adapter in the diffusers or PEFT format or has several ranks, it says another
            alpha, or nothing says any.
    """
    tensors, header = _read(source)
    prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in tensors)), "")
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    rank = _rank(source, tensors)
    alpha = _alpha(source, alpha, _said(source, header))
    layers = sorted({name.removesuffix(part) for name in tensors for part in _PARTS if name.endswith(part)})
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers).to_dict()
    settings["target_modules"] = layers
    with atomic_path(out) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", SETTINGS: json.dumps(settings, default=str)})
        canonicalise_adapter(temporary)


def _read(source: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(source, framework="np") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, file.metadata() or {}
    except (SafetensorError, OSError, TypeError) as error:
        raise UserError(f"Adapter '{source}' cannot be read ({error}); download it again.") from error


def _said(source: Path, header: Mapping[str, str]) -> dict[str, object]:
    """Return what the adapter says of its own training, in its header or in PEFT's file beside it."""
    if SETTINGS in header:
        return {key.rpartition(".")[2]: value for key, value in json.loads(header[SETTINGS]).items()}
    beside = source.with_name("adapter_config.json")
    try:
        return dict(json.loads(beside.read_text())) if beside.is_file() else {}
    except ValueError as error:
        raise UserError(f"File '{beside}' cannot be read ({error}); download it again.") from error


def _alpha(source: Path, given: int | None, said: Mapping[str, object]) -> int:
    if said.get("use_rslora") or said.get("use_dora"):
        raise UserError(f"Adapter '{source}' uses rslora or DoRA, which are not supported; merge it into a full model.")
    found = said.get("lora_alpha")
    if found is not None and given not in (None, found):
        raise UserError(f"Adapter '{source}' says alpha {found} and not {given}; use the alpha it was trained with.")
    alpha = given if found is None else found
    if not isinstance(alpha, int | float) or alpha != int(alpha):
        raise UserError(f"Adapter '{source}' says no whole alpha; give the one it was trained with (weights.alpha).")
    return int(alpha)


def _rank(source: Path, tensors: Mapping[str, np.ndarray]) -> int:
    foreign = [name for name in tensors if not name.endswith(_PARTS)]
    if foreign or not tensors:
        raise UserError(
            f"Adapter '{source}' has {foreign[0] if foreign else 'no tensor'!r} and is no LoRA in the diffusers format "
            "(*.lora_A.weight, *.lora_B.weight); convert it."
        )
    ranks = {value.shape[0] if name.endswith(_PARTS[0]) else value.shape[1] for name, value in tensors.items()}
    if len(ranks) > 1:
        raise UserError(f"Adapter '{source}' has the ranks {sorted(ranks)}; one rank for all layers is supported.")
    return ranks.pop()


def main(arguments: Sequence[str]) -> int:
    """Complete an adapter from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dmin.models.published_adapter", description=__doc__)
    parser.add_argument("file", type=Path, help="the adapter, pytorch_lora_weights.safetensors")
    parser.add_argument("--alpha", type=int, required=True, help="alpha that it was trained with")
    parser.add_argument("--out", type=Path, required=True, help="folder of the completed adapter")
    options = parser.parse_args(arguments)
    try:
        complete_adapter(options.file, options.alpha, options.out / options.file.name)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
