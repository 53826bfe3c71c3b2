"""How many parameters are attributed, counted by the names and shapes of tensors, and whether a sketch is no wider."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path

from .errors import UserError
from .weight_headers import Shapes, adapter_shapes, denoiser_shapes

ADAPTER, WITH_TEXT, BLOCKS, PATTERN = "adapter", "adapter_with_text", "transformer_blocks", "regex:"
# Why no member of a game goes on with such an adapter.
UNTRAINED_TEXT = (
    "what these learned of everyone would stay in each member; name an adapter of the denoiser alone, or leave the "
    "game out."
)
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
        UserError: ``width`` is above it, or text encoders are asked for that an adapter does not change.
    """
    if weights.is_dir():
        parameters = count_values(denoiser_shapes(str(weights)), selection)
    else:
        named = named_adapter(str(weights), text=selection == WITH_TEXT)
        parameters = count_values(named, selection) if selection in (ADAPTER, WITH_TEXT, BLOCKS) else None
    require_text(key, selection, _count_text(weights), weights.parent.name)
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

    ``adapter``, and ``adapter_with_text`` of the networks together: those of an adapter (:func:`is_adapted`); ``all``;
    ``transformer_blocks``: those that contain it, limited to the adapter where there is one; ``regex:<pattern>``: those
    in which the pattern is found anywhere.

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


def named_adapter(path: str, text: bool = False) -> Shapes | None:
    """Return the tensors of an adapter of the denoiser, and those of text encoders if ``text``, under names of PEFT.

    None where it is not there to be read, or its trainer names tensors otherwise: how many parameters these are, once
    layers are split as the pipeline has them, is known when it is imported.
    """
    shapes = adapter_shapes(path)
    if shapes is None or not all(map(_OWN.search, shapes)):
        return None
    return {name: shape for name, shape in shapes.items() if text or not _TEXT.match(name)} or None


def count_parts(path: str) -> tuple[int, int] | None:
    """Return how many values an adapter of any trainer has in the denoiser and in text encoders, alphas aside.

    None where it is not there to be read. A matrix that stands for those of several layers counts once.
    """
    shapes = adapter_shapes(path)
    if shapes is None:
        return None
    values = {name: math.prod(shape) for name, shape in shapes.items() if not name.endswith(".alpha")}
    text = sum(count for name, count in values.items() if _TEXT.match(name))
    return sum(values.values()) - text, text


def _count_text(weights: Path) -> int | None:
    parts = None if weights.is_dir() else count_parts(str(weights))
    return 0 if weights.is_dir() else parts and parts[1]


def require_denoiser(adapter: Path) -> None:
    """Refuse to go on with an adapter that changes text encoders too, which nothing here trains.

    Raises:
        UserError: it does.
    """
    if _count_text(adapter):
        raise UserError(f"The adapter '{adapter}' changes text encoders too, and {UNTRAINED_TEXT}")


def require_text(key: str, selection: str, values: int | None, model: str) -> None:
    """Refuse to attribute an adapter's parts in text encoders where it has none.

    Args:
        key: the place of the settings of gradients in the config.
        values: those of the adapter in text encoders; None where they are not known.

    Raises:
        UserError: there are none.
    """
    if selection == WITH_TEXT and values == 0:
        raise UserError(
            f"{key}.parameters is {WITH_TEXT}, but the adapter of model {model} changes no text encoder; set it to "
            f"{ADAPTER}."
        )
