"""What the names of an adapter's tensors say: of which layer each is, and what it does there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dmin.models.adapter_file import DENOISER
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

PREFIXES = ("transformer.", "unet.", "base_model.model.")
DOWN, UP, MAGNITUDE, ALPHA = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "alpha"
PARTS = (f".{DOWN}", f".{UP}")
# Of PEFT and diffusers, after their prefixes; all else is written by other trainers.
_PEFT = re.compile(r"\.(lora_[AB]\.weight|lora_magnitude_vector(\.weight)?)$")
_ELSEWHERE = re.compile(
    r"^((model\.)?diffusion_model\.|lora_|lycoris_|(double|single)_blocks\.)|\.default\.|processor\."
)
_TEXT = re.compile(r"^(?:base_model\.model\.)?(text_encoder(?:_\d)?)\.(.+)$")
_ROLES = (
    (re.compile(r"^(.+?)\.lora_A(?:\.default)?\.weight$"), DOWN),
    (re.compile(r"^(.+?)\.lora_B(?:\.default)?\.weight$"), UP),
    (re.compile(r"^(.+?)\.(?:lora_)?down\.weight$"), DOWN),
    (re.compile(r"^(.+?)\.(?:lora_)?up\.weight$"), UP),
    (re.compile(r"^(.+?)\.(?:dora_scale|lora_magnitude_vector(?:\.default)?(?:\.weight)?)$"), MAGNITUDE),
    (re.compile(r"^(.+?)\.(lokr_(?:w[12](?:_[ab])?|t2)|hada_(?:w[12]_[ab]|t[12]))$"), ""),
    (re.compile(r"^(.+?)\.alpha$"), ALPHA),
)
# What a name without a role belongs to, the first that matches.
_KINDS = {
    r"lora_mid\.|\.lora_mid$": "a convolution in three factors (LoCon with a Tucker core), which is not supported",
    r"oft_|boft_|glora|ia3_|\.(a1|a2|b1|b2)\.weight$": "another kind than LoRA, DoRA, LoKr and LoHa",
    r"\.(diff|diff_b|set_weight)$": "whole changes of layers beside it, which are not supported",
    r"\.lora_[AB](\.default)?\.bias$|\.lora_bias$": "PEFT with a bias of its own (lora_bias), which is not supported",
    r"lora_embedding_": "an embedding's LoRA, which is not supported",
    r"modules_to_save|\.base_layer\.": "PEFT with whole layers beside it (modules_to_save), which is not supported",
}
# Far more than any adapter has; what diffusers does with names takes time in their number and in what they count.
MOST_TENSORS, _MOST_DIGITS = 2**15, re.compile(r"\d{4}")


@dataclass(frozen=True)
class Named:
    """A tensor of an adapter: the ``layer`` as the file names it, and its ``role`` there, such as ``lora_A.weight``."""

    layer: str
    role: str


def read_names(source: str, names: Collection[str]) -> dict[str, Named]:
    """Return layer and role of every tensor, whichever trainer named it.

    Raises:
        UserError: there is none, two are one, or one has no role that is supported, whose kind is named where known.
    """
    if not names:
        raise UserError(f"Adapter '{source}' has no tensor; download it again.")
    if len(names) > MOST_TENSORS:
        raise UserError(f"Adapter '{source}' has {len(names)} tensors, which no adapter does; set weights.path to one.")
    found: dict[str, Named] = {}
    first: dict[Named, str] = {}
    for name in sorted(names):
        match = next(((match, role) for pattern, role in _ROLES if (match := pattern.match(name))), None)
        if match is None or _MOST_DIGITS.search(name):
            raise UserError(f"Adapter '{source}' has '{shown(name)}', which is {_kind(name)}; convert it.")
        found[name] = named = Named(match[0][1], match[1] or match[0][2])
        if first.setdefault(named, name) != name:
            raise UserError(
                f"Adapter '{source}' has '{shown(first[named])}' and '{shown(name)}', one tensor; keep one of them."
            )
    return found


def is_plain(names: Collection[str]) -> bool:
    """Tell whether all tensors are named as PEFT and diffusers name those of LoRA and DoRA."""
    return all(_PEFT.search(name) and not _ELSEWHERE.search(name) for name in names)


def split_parts(source: str, names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return of each part of a plain adapter its tensors, by their full names, as its network names them.

    Raises:
        UserError: a layer has one of its two matrices, or no name.
    """
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        text = _TEXT.match(name)
        bare = text[2] if text else name
        parts.setdefault(text[1] if text else DENOISER, {})[name] = re.sub(r"(magnitude_vector)\.weight$", r"\1", bare)
    for part, own in parts.items():
        while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in own.values())), ""):
            own = {name: value.removeprefix(prefix) for name, value in own.items()}
        parts[part] = own
        require_pairs(source, set(own.values()))
    return parts


def require_pairs(source: str, present: Collection[str]) -> None:
    """Refuse a LoRA of which a layer has one of its two matrices.

    Raises:
        UserError: naming both.
    """
    for name in sorted(present):
        part = next((part for part in PARTS if name.endswith(part)), None)
        layer = name.removesuffix(part or f".{MAGNITUDE}")
        others = [PARTS[1 - PARTS.index(part)]] if part else [*PARTS]
        absent = next((layer + other for other in others if layer + other not in present), None)
        if absent is not None:
            raise UserError(f"Adapter '{source}' has '{shown(name)}' and no '{shown(absent)}'; download it again.")
        if not layer:
            raise UserError(f"Adapter '{source}' has '{shown(name)}', which names no layer; download it again.")


def text_part(layer: str) -> str | None:
    """Return the text encoder that a layer is of, by its name in a file of any trainer; None for the denoiser's."""
    dotted = _TEXT.match(layer)
    if dotted:
        return dotted[1]
    number = re.match(r"lora_te(\d?)_", layer)
    return None if number is None else f"text_encoder{'' if number[1] in ('', '1') else f'_{number[1]}'}"


def spellings(layer: str) -> list[str]:
    """Return how a network may name a layer, the likeliest first, of a layer as a file names it.

    Trainers put a prefix before every name and write underscores for dots; old releases of diffusers named the
    processors of attention, and transformers dropped ``text_model`` from its encoder.
    """
    own = re.sub(r"^((base_model\.)?model\.)?(diffusion_model|unet|transformer|text_encoder(_\d)?)\.", "", layer)
    own = re.sub(r"^(base_model\.model\.)+", "", own)
    own = re.sub(r"^(lora_(unet|transformer|te\d?)|lycoris)_", "", own)
    own = re.sub(r"(\.lora_linear_layer|\.lora)$", "", own)
    old = re.match(r"^(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora$", own)
    if old and text_part(layer):
        own = f"{old[1]}.{old[2]}_proj"
    elif old:
        own = f"{old[1]}.to_{old[2]}{'.0' if old[2] == 'out' else ''}"
    bare = re.sub(r"^text_model[._]", "", own)
    return [own, bare, f"text_model.{bare}"] if text_part(layer) else [own]


def fold(name: str) -> str:
    """Return a layer's name as trainers that know no dots write it."""
    return name.replace(".", "_")


def _kind(name: str) -> str:
    known = next((kind for pattern, kind in _KINDS.items() if re.search(pattern, name)), None)
    return known or "no matrix of a LoRA, DoRA, LoKr or LoHa"


def by_layer(names: Mapping[str, Named]) -> dict[str, dict[str, str]]:
    """Return of every layer the tensors by role."""
    layers: dict[str, dict[str, str]] = {}
    for name, named in names.items():
        layers.setdefault(named.layer, {})[named.role] = name
    return layers
