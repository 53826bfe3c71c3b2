"""Ranks, alphas and settings of an adapter's layers, as PEFT takes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig

from dmin.models.adapter_file import AdapterPart
from dmin.models.adapter_foreign import ForeignPart
from dmin.models.adapter_names import DOWN, MAGNITUDE, UP, require_pairs
from dmin.models.adapter_settings import AdapterSettings, require_alpha
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

Layers = Mapping[str, Mapping[str, torch.Tensor]]


def lora_part(source: Path, given: ForeignPart, said: AdapterSettings, alpha: float | None) -> AdapterPart:
    """Return the LoRA or DoRA of one network.

    Args:
        said: what the file says beside its tensors.
        alpha: the user's, for layers of which nothing says one.

    Raises:
        UserError: matrices do not fit each other or what is said of their ranks, magnitudes are not one for each output
            or not in every layer, or nothing says an alpha.
    """
    require_pairs(str(source), given.tensors.keys())
    layers = _layers(given.tensors)
    ranks = {layer: _rank(source, layer, parts, said) for layer, parts in layers.items()}
    alphas = {layer: _alpha(source, layer, given, said, alpha, ranks[layer]) for layer in layers}
    decomposed = [layer for layer, parts in layers.items() if MAGNITUDE in parts]
    if decomposed and (len(decomposed) < len(layers) or said.dora is False):
        raise UserError(
            f"Adapter '{source}' has magnitudes (DoRA) in '{shown(decomposed[0])}' and not in all layers, or says that "
            "it has none; convert it."
        )
    if said.dora and not decomposed:
        raise UserError(f"Adapter '{source}' says use_dora and has no magnitudes; download it again.")
    own = {layer: given.names.get(layer, layer) for layer in layers}
    tensors = {
        f"{own[layer]}.{role}": _magnitudes(source, layer, parts, value) if role == MAGNITUDE else value
        for layer, parts in layers.items()
        for role, value in parts.items()
    }
    ranks = {own[layer]: value for layer, value in ranks.items()}
    alphas = {own[layer]: value for layer, value in alphas.items()}
    rank, usual = _usual(ranks), _usual(alphas)
    settings: dict[str, Any] = LoraConfig(
        r=rank,
        lora_alpha=usual,
        target_modules=sorted(ranks),
        rank_pattern=_unusual(ranks, rank),
        alpha_pattern=_unusual(alphas, usual),
        use_rslora=said.rslora,
        use_dora=bool(decomposed),
    ).to_dict()
    return AdapterPart({**settings, "target_modules": sorted(ranks)}, tensors)


def factor_part(source: Path, given: ForeignPart, alpha: float | None) -> AdapterPart:
    """Return the LoKr or LoHa of one network; its factors stay as they are, and its scale is that of LyCORIS.

    That is alpha / rank, and 1 for a layer of LoKr whose two factors are whole matrices.

    Raises:
        UserError: layers are of several kinds, lack a factor, or nothing says an alpha.
    """
    layers = _layers(given.tensors)
    kinds = {role.partition("_")[0] for parts in layers.values() for role in parts}
    if kinds not in ({"lokr"}, {"hada"}):
        raise UserError(
            f"Adapter '{source}' mixes LoRA, DoRA, LoKr and LoHa ({', '.join(sorted(kinds))}), of which one is read at "
            "a time; merge it into a full model (weights.path, finetune: full)."
        )
    ranks, alphas = {}, {}
    for layer, parts in layers.items():
        _require_factors(source, layer, parts)
        inner = next((parts[role] for role in ("lokr_w2_b", "lokr_w1_b", "hada_w1_b") if role in parts), None)
        ranks[layer] = 1 if inner is None else len(inner)
        alphas[layer] = 1.0
        if inner is not None:
            alphas[layer] = _alpha(
                source, layer, given, AdapterSettings(None, None, [], [], False), alpha, ranks[layer]
            )
    rank, usual = _usual(ranks), _usual(alphas)
    config = LoKrConfig if kinds == {"lokr"} else LoHaConfig
    settings: dict[str, Any] = config(
        r=rank,
        alpha=usual,
        target_modules=sorted(ranks),
        rank_pattern=_unusual(ranks, rank),
        alpha_pattern=_unusual(alphas, usual),
    ).to_dict()
    return AdapterPart({**settings, "target_modules": sorted(ranks)}, given.tensors)


def _layers(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in sorted(tensors.items()):
        role = next((role for role in (DOWN, UP) if name.endswith(f".{role}")), name.rpartition(".")[2])
        layers.setdefault(name.removesuffix(f".{role}"), {})[role] = value
    return layers


def _rank(source: Path, layer: str, parts: Mapping[str, torch.Tensor], said: AdapterSettings) -> int:
    """Return the rank of a layer, which both of its matrices must have."""
    down, up = parts[DOWN].shape, parts[UP].shape
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
    if said.rank_of(layer) not in (None, down[0]):
        raise UserError(
            f"Adapter '{source}' says rank {said.rank_of(layer)} and has {down[0]} in '{shown(layer)}'; download "
            "it again."
        )
    return int(down[0])


def _alpha(
    source: Path, layer: str, given: ForeignPart, said: AdapterSettings, alpha: float | None, rank: int
) -> float:
    """Return the alpha of a layer, of which all that the file says must agree."""
    own, told = given.alphas.get(layer), said.alpha_of(layer)
    if own is not None:
        own = require_alpha(source, f"{layer}.alpha", own)
        if told not in (None, own):
            raise UserError(
                f"Adapter '{source}' has alpha {own} in '{shown(layer)}' and says {told} of it; keep the one it was "
                "trained with."
            )
    if alpha is not None:
        alpha, general = require_alpha(source, "weights.alpha", alpha), said.alpha if own is None else own
        if general not in (None, alpha):
            raise UserError(
                f"Adapter '{source}' says alpha {general} and not {alpha}; use the alpha it was trained with."
            )
    known = next((value for value in (own, told, alpha) if value is not None), None)
    if known is None and layer in given.unsaid:
        return rank
    if known is None:
        raise UserError(f"Adapter '{source}' says no alpha; give the one it was trained with (weights.alpha).")
    return known


def _magnitudes(source: Path, layer: str, parts: Mapping[str, torch.Tensor], value: torch.Tensor) -> torch.Tensor:
    """Return the magnitudes of a layer, one for each of its outputs, in PEFT's shape."""
    outputs, convolution = len(parts[UP]), parts[DOWN].ndim > 2
    if value.numel() != outputs or (value.ndim > 1 and outputs not in value.shape[:2]):
        raise UserError(
            f"Adapter '{source}' has magnitudes of shape {list(value.shape)} in '{shown(layer)}', which has {outputs} "
            "outputs; train DoRA with a magnitude for each output (wd_on_out)."
        )
    if value.ndim > 1 and value.shape[0] == 1 and not (convolution and value.shape[1] == outputs and value.ndim == 4):
        raise UserError(
            f"Adapter '{source}' has magnitudes of shape {list(value.shape)} in '{shown(layer)}', one for each input; "
            "train DoRA with a magnitude for each output (wd_on_out)."
        )
    return value.reshape((1, outputs, *[1] * (parts[DOWN].ndim - 2)) if convolution else (outputs,))


def _require_factors(source: Path, layer: str, parts: Mapping[str, torch.Tensor]) -> None:
    present = set(parts)
    if any(role.startswith("hada") for role in present):
        core = {"hada_t1", "hada_t2"}
        whole = present - core == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} and present & core in (
            set(),
            core,
        )
    else:
        first = present & {"lokr_w1", "lokr_w1_a", "lokr_w1_b"}
        second = present - first
        whole = first in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}) and second in (
            {"lokr_w2"},
            {"lokr_w2_a", "lokr_w2_b"},
            {"lokr_w2_a", "lokr_w2_b", "lokr_t2"},
        )
    if not whole or not all(value.ndim >= 2 and value.numel() for value in parts.values()):
        raise UserError(
            f"Adapter '{source}' has {', '.join(sorted(present))} in '{shown(layer)}', which are not the factors of a "
            "layer; download it again."
        )


def _usual(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]


def _unusual(values: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """Return what differs from the most frequent, each layer by its full name."""
    return {f"^{re.escape(layer)}": value for layer, value in values.items() if value != usual}
