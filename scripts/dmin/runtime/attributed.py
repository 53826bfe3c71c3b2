"""How many parameters are attributed, counted by the names and shapes of tensors, and whether a sketch is no wider."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path

from .errors import UserError
from .weight_headers import Shapes, adapter_shapes, denoiser_shapes

BLOCKS, PATTERN = "transformer_blocks", "regex:"
# What PEFT names the parameters of LoRA and DoRA, of LoKr and of LoHa.
ADAPTERS = ("lora_", "lokr_", "hada_")
# A tensor of an adapter that PEFT, diffusers or an import here wrote.
_OWN = re.compile(
    r"^(?!lora_|lycoris_|(model\.)?diffusion_model\.).*\.(lora_[AB]\.weight|lora_magnitude_vector|(lokr|hada)_\w+)$"
)
# A tensor of an adapter that changes a text encoder.
_TEXT = re.compile(r"^(base_model\.model\.)?text_encoder|^lora_te\d?_")
# What a denoiser saves with its parameters and does not train.
_BUFFERS = ("pos_embed.pos_embed",)


def check_width(key: str, width: int, parameters: int | None, model: str) -> None:
    """Refuse a sketch that is wider than the gradient.

    Args:
        key: the place of the settings of gradients in the config.
        parameters: P; None where it is not known.

    Raises:
        UserError: ``width`` is above it.
    """
    if parameters is not None and width > parameters:
        raise UserError(
            f"{key}.cache_dim is {width}, above the {parameters} attributed parameters of model {model}; set it to "
            f"{widest(parameters)} or less, and influence.widths to widths that divide it, or select more parameters."
        )


def widest(parameters: int) -> int:
    """Return the largest power of two that is at most P."""
    return 1 << (max(1, parameters).bit_length() - 1)


def check_trained(key: str, width: int, weights: Path, selection: str) -> int | None:
    """Do as :func:`check_width` by the weights that stand in the results, and return P, None where they do not tell.

    Raises:
        UserError: ``width`` is above it.
    """
    if weights.is_dir():
        parameters = count_values(denoiser_shapes(str(weights)), selection)
    else:
        named = named_adapter(str(weights))
        parameters = count_values(named, selection) if selection in ("adapter", BLOCKS) else None
    check_width(key, width, parameters, weights.parent.name)
    return parameters


def count_values(named: Shapes | None, selection: str) -> int | None:
    """Return P, the values that a selection takes of named tensors, 0 where it matches none; None for no names."""
    if named is None:
        return None
    trained = [name for name in named if name not in _BUFFERS]
    return sum(math.prod(named[name]) for name in select_names(trained, selection))


def select_names(names: Collection[str], selection: str) -> list[str]:
    """Return those of the ``names`` of a network's tensors that a selection takes, in their order.

    ``adapter``: those of an adapter (:func:`is_adapted`); ``all``; ``transformer_blocks``: those that contain it,
    limited to the adapter where there is one; ``regex:<pattern>``: those in which the pattern is found anywhere.

    Source: DMin, parameters included in the gradient.
    """
    adapted = any(map(is_adapted, names))
    pattern = re.compile(selection.removeprefix(PATTERN)) if selection.startswith(PATTERN) else None

    def chosen(name: str) -> bool:
        if pattern is not None:
            return pattern.search(name) is not None
        if selection == "all":
            return True
        if selection == BLOCKS:
            return BLOCKS in name and (is_adapted(name) or not adapted)
        return is_adapted(name)

    return [name for name in names if chosen(name)]


def is_adapted(name: str) -> bool:
    """Tell whether a parameter of a network is one of an adapter on it, by its name."""
    return any(mark in name for mark in ADAPTERS)


def named_adapter(path: str) -> Shapes | None:
    """Return the tensors of an adapter of the denoiser under names of PEFT.

    None where it is not there to be read, or its trainer names tensors otherwise: how many parameters these are, once
    layers are split as the pipeline has them, is known when it is imported.
    """
    shapes = adapter_shapes(path)
    if shapes is None or not all(map(_OWN.search, shapes)):
        return None
    return {name: shape for name, shape in shapes.items() if not _TEXT.match(name)} or None


def changes_text(path: str) -> bool:
    """Tell whether an adapter changes a text encoder, or may: one that is not on disk is not known before it is."""
    shapes = adapter_shapes(path)
    return shapes is None or any(map(_TEXT.match, shapes))
