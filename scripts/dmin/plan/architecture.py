"""What a base pipeline looks like, read from its config files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from dmin.runtime.errors import UserError
from dmin.settings.models import Base

# Where a pipeline keeps its denoiser's config; unconditional ones on the hub keep it at the top.
_DENOISER = {
    "ddpm": ("unet/config.json", "config.json"),
    "stable_diffusion": ("unet/config.json",),
    "stable_diffusion_3": ("transformer/config.json",),
}
_CLASS = {
    "ddpm": "UNet2DModel",
    "stable_diffusion": "UNet2DConditionModel",
    "stable_diffusion_3": "SD3Transformer2DModel",
}
# CLIP reads no more; a tokenizer without a limit of its own says a number beyond reason.
_CLIP_TOKENS = 77
# Stable Diffusion 3 appends its T5 tokens to those of CLIP; without T5, zeros take their place.
_T5_TOKENS = 256


@dataclass(frozen=True)
class Architecture:
    """The denoiser's diffusers config and the shapes of its inputs."""

    denoiser: Mapping[str, Any]
    """With ``_class_name``."""
    shrink: int
    """Pixels per latent cell and side; 1 for a model of pixels."""
    prompt_tokens: int
    """Tokens of one prompt; 0 for an unconditional model."""

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """Return ``(c, h, w)`` of the latent of a ``size`` x ``size`` image."""
        return (self.denoiser["in_channels"], size // self.shrink, size // self.shrink)


def read_architecture(name: str, base: Base, shipped: Path) -> Architecture:
    """Return the architecture of the base ``name`` without touching the network.

    Config files are taken from the local folder ``base["path"]``; for a model on the hub, from the downloads that are
    already cached, else from ``shipped / base["path"]``.

    Args:
        shipped: folder of config files of known models, in the diffusers layout.

    Raises:
        UserError: no config is found, it is no JSON, or it belongs to another family.
    """
    family = base["family"]
    denoiser = next((found for part in _DENOISER[family] if (found := _read(base, shipped, part))), None)
    if denoiser is None:
        raise UserError(
            f"bases.{name}.path '{base['path']}' has no {_DENOISER[family][0]} here, in the hub's cache or in "
            f"'{shipped}'; correct path and family, or save that file as "
            f"'{shipped / base['path'] / _DENOISER[family][0]}'."
        )
    if denoiser.get("_class_name") != _CLASS[family]:
        raise UserError(
            f"bases.{name}.family is {family}, whose denoiser is a {_CLASS[family]}, but '{base['path']}' holds a "
            f"{denoiser.get('_class_name')}; correct the family."
        )
    if family == "ddpm":
        return Architecture(denoiser, 1, 0)
    autoencoder = _read(base, shipped, "vae/config.json") or {"block_out_channels": [128, 256, 512, 512]}
    tokenizer = _read(base, shipped, "tokenizer/tokenizer_config.json") or {}
    tokens = min(tokenizer.get("model_max_length", _CLIP_TOKENS), _CLIP_TOKENS)
    tokens += _T5_TOKENS if family == "stable_diffusion_3" else 0
    return Architecture(denoiser, 2 ** (len(autoencoder["block_out_channels"]) - 1), tokens)


def _read(base: Base, shipped: Path, part: str) -> dict[str, Any] | None:
    """Return one config file of a base, or None where it has none."""
    folder = Path(base["path"])
    if folder.is_dir():
        path = folder / part
    else:
        path = shipped / base["path"] / part
        if _on_hub(base["path"]):
            cached = try_to_load_from_cache(base["path"], part, revision=base["revision"])
            path = Path(cached) if isinstance(cached, str) else path
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON ({error}); restore it.") from error


def _on_hub(path: str) -> bool:
    return path.count("/") == 1 and not path.startswith((".", "/"))
