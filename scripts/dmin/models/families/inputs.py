"""What a denoiser takes: latents, a time, and prompts as wide as the text encoders make them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# Keys of a denoiser's config that ask for an input which no family here gives, and the values that ask for none.
_FURTHER: Mapping[str, tuple[Any, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "time_cond_proj_dim": (None,),
    "siglip_feat_dim": (None,),
    "use_additional_t_cond": (None, False),
    "use_layer3d_rope": (None, False),
    "zero_cond_t": (None, False),
}


def require_no_further_input(config: Mapping[str, Any], base: str, given: Collection[str] = ()) -> None:
    """Refuse the ``config`` of a denoiser that is also conditioned on classes, images, sizes or a guidance scale.

    Args:
        given: values of these keys for which the family has the input.

    Raises:
        UserError: naming the key.
    """
    for key, without in _FURTHER.items():
        if config.get(key) not in (*without, *given):
            raise UserError(
                f"The denoiser of '{base}' has {key} {shown(config[key])}, an input beside latents, time and prompt "
                "that is not given here; take a base without it."
            )


def require_width(base: str, key: str, taken: Any, given: int) -> None:
    """Refuse text encoders whose values are not as wide as the denoiser takes them.

    Args:
        key: of the denoiser's config, whose value ``taken`` is a number, or one for each block.
        given: what the text encoders make.

    Raises:
        UserError: naming the key and both.
    """
    if set(taken if isinstance(taken, list | tuple) else [taken]) != {given}:
        raise UserError(
            f"The denoiser of '{base}' has {key} {shown(taken)} and its text encoders give {given}; take both from one "
            "pipeline."
        )


def require_no_mask(config: Any, base: str) -> None:
    """Refuse a text encoder whose ``config`` asks that what fills a prompt up is hidden from it.

    Raises:
        UserError: naming the key.
    """
    if getattr(config, "use_attention_mask", None):
        raise UserError(
            f"The text_encoder of '{base}' has use_attention_mask, and prompts are encoded here without a mask; take a "
            "base without it."
        )
