"""Adapters that were published without their alpha.

``python -m dmin.models.published_adapter FILE --alpha 8 --out FOLDER`` writes one that loads with the scale of its
training.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmin.models.adapter_file import SETTINGS, canonicalise_adapter
from dmin.models.adapter_names import PARTS, name_layers
from dmin.models.adapter_settings import AdapterSettings, read_settings, require_alpha
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.header import FLOATS, Header, read_header
from dmin.models.gate.words import reason
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown


def complete_adapter(source: Path, alpha: int | None, out: Path) -> None:
    """Write the adapter ``source`` to ``out`` with its ranks and alphas, named as the denoiser names its layers.

    ``alpha`` None takes what the file says, or the ``adapter_config.json`` of PEFT beside it. Layers may differ in rank
    and alpha, and the scale may be that of rslora; the numbers are kept in the precision that they have.

    diffusers used to save adapters without alpha and then loads them as if it were the rank: an adapter of rank 4 and
    alpha 8 acts with scale 1 in place of 2. Pipelines also put ``transformer.`` or ``unet.`` before every name.

    Raises:
        UserError: the file is torn, not finite or no adapter in the diffusers or PEFT format, its tensors do not have
            the ranks that it says, it says another alpha or something that is not supported, or nothing says an alpha.
    """
    header = read_header(source, "Adapter")
    names = name_layers(str(source), header.tensors)
    said = read_settings(source, header.metadata)
    ranks = _ranks(source, {names[name]: shape for name, shape in _shapes(source, header).items()}, said)
    alphas = _alphas(source, sorted(ranks), alpha, said)
    tensors = {names[name]: value for name, value in _read(source).items()}
    settings = _settings(ranks, alphas, said.rslora)
    with atomic_path(out) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", SETTINGS: json.dumps(settings, default=str)})
        canonicalise_adapter(temporary)


def _shapes(source: Path, header: Header) -> dict[str, tuple[int, ...]]:
    for name, (kind, _) in sorted(header.tensors.items()):
        if kind not in FLOATS:
            raise UserError(f"Adapter '{source}' stores '{shown(name)}' as {kind}; convert it to float16 or float32.")
    return {name: shape for name, (_, shape) in header.tensors.items()}


def _ranks(source: Path, shapes: Mapping[str, tuple[int, ...]], said: AdapterSettings) -> dict[str, int]:
    """Return the rank of every layer, which both of its tensors must have."""
    ranks = {}
    for layer in sorted({name.removesuffix(part) for name in shapes for part in PARTS if name.endswith(part)}):
        down, up = (shapes[layer + part] for part in PARTS)
        fits = len(down) == len(up) in (2, 4) and down[0] == up[1] and set(up[2:]) <= {1}
        if not fits or not all(down) or not all(up):
            raise UserError(
                f"Adapter '{source}' has shapes {list(down)} and {list(up)} in '{shown(layer)}', which are not those "
                "of one rank; download it again."
            )
        if said.leaves_out(layer):
            raise UserError(
                f"Adapter '{source}' has tensors in '{shown(layer)}', which its target_modules, exclude_modules or "
                "layers_to_transform leave out; remove what is wrong."
            )
        ranks[layer] = down[0]
        if said.rank_of(layer) not in (None, down[0]):
            raise UserError(
                f"Adapter '{source}' says rank {said.rank_of(layer)} and has {down[0]} in '{shown(layer)}'; download "
                "it again."
            )
    return ranks


def _alphas(source: Path, layers: Sequence[str], given: int | None, said: AdapterSettings) -> dict[str, float]:
    """Return the alpha of every layer."""
    if given is not None:
        given_alpha = require_alpha(source, "weights.alpha", given)
        if said.alpha not in (None, given_alpha):
            raise UserError(
                f"Adapter '{source}' says alpha {said.alpha} and not {given}; use the alpha it was trained with."
            )
    alphas = {}
    for layer in layers:
        alpha = said.alpha_of(layer)
        alpha = given if alpha is None else alpha
        if alpha is None:
            raise UserError(f"Adapter '{source}' says no alpha; give the one it was trained with (weights.alpha).")
        alphas[layer] = alpha
    return alphas


def _read(source: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(source, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"Adapter '{source}' cannot be read ({reason(error)}); download it again.") from error
    # As they will be used.
    bad = first_not_finite((name, value.float()) for name, value in tensors.items())
    if bad is not None:
        raise UserError(f"Adapter '{source}' has values in '{shown(bad)}' that are not finite; download it again.")
    return tensors


def _settings(ranks: Mapping[str, int], alphas: Mapping[str, float], rslora: bool) -> dict[str, Any]:
    """Return PEFT's config: the most frequent rank and alpha, and the layers that differ, each by its full name."""
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    settings: dict[str, Any] = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(ranks),
        rank_pattern={f"^{re.escape(layer)}": value for layer, value in ranks.items() if value != rank},
        alpha_pattern={f"^{re.escape(layer)}": value for layer, value in alphas.items() if value != alpha},
        use_rslora=rslora,
    ).to_dict()
    settings["target_modules"] = sorted(ranks)
    return settings


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
