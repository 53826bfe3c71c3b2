"""Adapters as their trainers name them, brought to the layers of a pipeline.

Most trainers only put a prefix before the names of layers, or write underscores for dots: those are looked up. Others
name the layers of a model's original code, or fuse some: those go through diffusers' own converters. These are given
scales of 1 and numbered matrices first, so that each layer is seen to come from a known one and gets its alpha; a
converter that drops a tensor, or multiplies it, cannot do so unseen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from dmin.models.adapter_file import DENOISER
from dmin.models.adapter_names import (
    ALPHA,
    DOWN,
    UP,
    Named,
    by_layer,
    fold,
    read_names,
    spellings,
    text_part,
)
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

Tensors = Mapping[str, torch.Tensor]


class Networks(Protocol):
    """What conversion must know of a pipeline; a family offers it."""

    pipeline: ClassVar[Any]
    """Its class in diffusers."""

    @property
    def denoiser(self) -> Any:
        """The network that is denoised with."""

    def text_encoder_of(self, part: str) -> Any:
        """Return a text encoder of the pipeline, None where it has none of that name."""


@dataclass
class ForeignPart:
    """The tensors of one network, named as its layers, and the alpha that the file has for a layer."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    unsaid: set[str] = field(default_factory=set)
    """Layers of a trainer that leaves out an alpha which equals the rank."""
    names: dict[str, str] = field(default_factory=dict)
    """What the network calls a layer that the file calls otherwise."""


def place_tensors(source: str, tensors: Tensors, networks: Networks) -> dict[str, ForeignPart]:
    """Return the tensors of an adapter of any trainer by the part of the pipeline and its layers.

    Raises:
        UserError: a tensor has no role that is supported, or its layer is not found by its name or by diffusers.
    """
    names = read_names(source, tensors)
    layers = by_layer(names)
    alone = next((layer for layer, roles in sorted(layers.items()) if roles.keys() == {ALPHA}), None)
    if alone is not None:
        raise UserError(f"Adapter '{source}' has an alpha and no matrix in '{shown(alone)}'; download it again.")
    index = _Index(networks)
    sought = {layer: index.find(layer) for layer in layers}
    places = {layer: place for layer, place in sought.items() if place is not None}
    found: dict[str, ForeignPart] = {}
    if len(places) < len(layers):
        # diffusers leaves out some text encoders, whose layers need no other names.
        places = {layer: place for layer, place in places.items() if place[0] != DENOISER}
        left = {layer: roles for layer, roles in layers.items() if layer not in places}
        renamed = _renamed(left, networks, index)
        if renamed is None:
            rest = {name: named for name, named in names.items() if named.layer in left}
            found = _split(source, {name: tensors[name] for name in rest}, rest, networks, index)
        else:
            places |= renamed
    _require_once(source, places, found)
    for name, named in names.items():
        if named.layer in places:
            part, layer = places[named.layer]
            _put(found.setdefault(part, ForeignPart()), layer, named, tensors[name])
    return found


def find_text_layers(networks: Networks, part: str, tensors: Collection[str]) -> dict[str, str]:
    """Return what a text encoder calls the layers of its ``tensors``, where that is something else."""
    index = _Index(networks)
    layers = {re.sub(r"\.lora_([AB]\.weight|magnitude_vector)$", "", name) for name in tensors}
    places = {layer: index.find(f"{part}.{layer}") for layer in layers}
    return {layer: place[1] for layer, place in places.items() if place is not None}


class _Index:
    """The layers of a pipeline's networks by the names that trainers give them."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._known: dict[str, tuple[set[str], dict[str, str]]] = {}

    def find(self, layer: str) -> tuple[str, str] | None:
        """Return the part of the pipeline and the name there of a layer of a file; None where there is none."""
        part = self.part_of(layer)
        dotted, folded = self._of(part)
        for spelling in spellings(layer):
            own = spelling if spelling in dotted else folded.get(spelling)
            if own:
                return part, own
        return None

    def part_of(self, layer: str) -> str:
        """Return the part of the pipeline that a layer of a file is of, which the pipeline may not have."""
        part = text_part(layer) or DENOISER
        # sd-scripts numbers T5 as in SD3, also in FLUX, which has one CLIP before it.
        without_third = layer.startswith("lora_te3_") and not self._of(part)[0]
        return "text_encoder_2" if without_third and self._of("text_encoder_2")[0] else part

    def _of(self, part: str) -> tuple[set[str], dict[str, str]]:
        if part not in self._known:
            network = self._networks.text_encoder_of(part) if part else self._networks.denoiser
            layers = [] if network is None else [name for name, module in network.named_modules() if _is_layer(module)]
            # A name that two layers share once their dots are gone is nobody's.
            counts = Counter(map(fold, layers))
            self._known[part] = set(layers), {fold(name): name for name in layers if counts[fold(name)] == 1}
        return self._known[part]


def _is_layer(module: nn.Module) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) >= 2


def _put(part: ForeignPart, layer: str, named: Named, value: torch.Tensor) -> None:
    if named.role == ALPHA:
        part.alphas[layer] = _number(value)
    else:
        part.tensors[f"{layer}.{named.role}"] = value
        if named.layer.startswith(("lora_", "lycoris_")):
            part.unsaid.add(layer)


def _require_once(source: str, places: Mapping[str, tuple[str, str]], converted: Mapping[str, ForeignPart]) -> None:
    """Refuse two layers of a file, named or converted, that are one layer of the pipeline."""
    taken = {(part, layer): layer for part, given in converted.items() for layer in given.unsaid}
    for layer, place in places.items():
        other = taken.setdefault(place, layer)
        if other != layer:
            raise UserError(
                f"Adapter '{source}' has '{shown(other)}' and '{shown(layer)}', one layer; keep one of them."
            )


def _renamed(
    layers: Mapping[str, Mapping[str, str]], networks: Networks, index: _Index
) -> dict[str, tuple[str, str]] | None:
    """Return the place of every layer where diffusers only renames them; None where it does more, or does not."""
    probe = {}
    for number, (layer, roles) in enumerate(layers.items(), 1):
        for role, standard in ((DOWN, "lora_down.weight"), (UP, "lora_up.weight")):
            probe[roles.get(role, f"{layer}.{standard}")] = torch.full((1, 1), float(number))
    try:
        converted = _convert(probe, networks)
        names = read_names("", converted)
        places: dict[str, tuple[str, str]] = {}
        for name, named in names.items():
            place, source = index.find(named.layer), list(layers)[int(converted[name].flatten()[0]) - 1]
            if place is None or places.setdefault(source, place) != place or named.role not in (DOWN, UP):
                return None
    except Exception:
        # Converters raise whatever they like over layers that they split.
        return None
    whole = len(converted) == len(probe) and len(set(places.values())) == len(layers)
    return places if whole else None


def _split(
    source: str, tensors: Tensors, names: Mapping[str, Named], networks: Networks, index: _Index
) -> dict[str, ForeignPart]:
    """Return what diffusers makes of a LoRA whose layers it splits, fuses or names anew.

    Every down matrix is filled with the number of its layer in a first pass, so that in a second it is known where
    each comes from; alphas are set to ranks in both, and applied to where their matrices went.
    """
    layers = list(by_layer(names))
    odd = sorted(name for name, named in names.items() if named.role not in (DOWN, UP, ALPHA))
    odd += sorted(name for name, named in names.items() if named.role in (DOWN, UP) and tensors[name].ndim < 2)
    lost = next(layer for layer in sorted(layers) if index.find(layer) is None)
    if odd:
        raise UserError(
            f"Adapter '{source}' has '{shown(lost)}', which is no layer of this base's {_what(lost, index)} under that "
            f"name, and no LoRA that could be converted ('{shown(odd[0])}'); train it on this base."
        )
    ranks = {named.layer: len(tensors[name]) for name, named in names.items() if named.role == DOWN}
    numbered, plain = dict(tensors), dict(tensors)
    for name, named in names.items():
        if named.role == DOWN:
            numbered[name] = torch.full(tensors[name].shape, float(1 + layers.index(named.layer)))
        elif named.role == ALPHA:
            numbered[name] = plain[name] = torch.tensor(float(ranks.get(named.layer, 1)))
    try:
        marks, values = _convert(numbered, networks), _convert(plain, networks)
        found = read_names(source, values)
        origin = {named.layer: _origin(marks[name]) for name, named in found.items() if named.role == DOWN}
    except Exception as error:
        told = "" if isinstance(error, UserError) else f" ({reason(error)})"
        raise UserError(
            f"Adapter '{source}' has '{shown(lost)}', which is no layer of this base's {_what(lost, index)}, and "
            f"diffusers does not convert it{told}; train it on this base."
        ) from error
    gone = sorted(set(range(1, len(layers) + 1)) - set(origin.values()))
    if gone:
        raise UserError(
            f"Adapter '{source}' has '{shown(layers[gone[0] - 1])}', which diffusers leaves out as it converts it to "
            "this base; train it on this base."
        )
    alphas = {named.layer: _number(tensors[name]) for name, named in names.items() if named.role == ALPHA}
    parts: dict[str, ForeignPart] = {}
    for name, named in found.items():
        place, came = index.find(named.layer), layers[origin[named.layer] - 1]
        if place is None:
            raise UserError(
                f"Adapter '{source}' has '{shown(came)}', which is no layer of this base's {_what(came, index)}; train "
                "it on this base."
            )
        part = parts.setdefault(place[0], ForeignPart())
        part.tensors[f"{place[1]}.{named.role}"] = values[name]
        part.unsaid.add(place[1])
        if named.role == DOWN and came in alphas:
            part.alphas[place[1]] = alphas[came] * len(values[name]) / ranks[came]
    return parts


def _what(layer: str, index: _Index) -> str:
    return index.part_of(layer) or "denoiser"


def _number(value: torch.Tensor) -> float:
    """Return the number that a tensor holds, NaN where it holds several."""
    return float(value.double().flatten()[0]) if value.numel() == 1 else float("nan")


def _origin(mark: torch.Tensor) -> int:
    """Return the number that fills a converted down matrix.

    Raises:
        ValueError: diffusers has mixed matrices of several layers, or scaled them.
    """
    number = round(float(mark.flatten()[0]))
    if not bool((mark == number).all()):
        raise ValueError("diffusers mixes layers")
    return number


def _convert(tensors: Tensors, networks: Networks) -> dict[str, torch.Tensor]:
    convert: Callable[..., Any] = networks.pipeline.lora_state_dict
    converted = convert(dict(tensors), unet_config=networks.denoiser.config)
    # Those of UNets give the alphas beside the tensors; all of them are 1 here.
    given = converted[0] if isinstance(converted, tuple) else converted
    return dict(given)
