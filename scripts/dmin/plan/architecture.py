"""What a base pipeline looks like, read from its config files alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from dmin.catalogue.families import FAMILIES
from dmin.models.families.family import Family
from dmin.models.families.sampling import Conditioning
from dmin.models.gate.files import read_json
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.weight_headers import read_shapes
from dmin.settings.models import Base

META = torch.device("meta")
# CLIP reads no more; a tokenizer without a limit of its own says a number beyond reason.
_CLIP_TOKENS = 77
# The autoencoder of a model on the hub whose config is not here: 8 pixels a side to one latent, as nearly all have.
_AUTOENCODER = {"block_out_channels": [128, 256, 512, 512]}


@contextmanager
def of_configs(path: str) -> Iterator[None]:
    """Turn what diffusers raises over a config's values, which may be anything, into one sentence.

    Raises:
        UserError: the configs of the base at ``path`` give no denoiser.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the configs of '{path}' give no denoiser ({reason(error)}); restore them.") from error


@dataclass(frozen=True)
class PlannedPipeline:
    """The config files of a base: of a local folder, of the hub's cache, or those shipped of known models."""

    base: Base
    shipped: Path

    def read(self, part: str) -> dict[str, Any] | None:
        """Return one config file, or None where there is none.

        Raises:
            UserError: it is no JSON object, or larger than any config.
        """
        folder, name = Path(self.base.get("config") or self.base["path"]), self.base.get("config") or self.base["path"]
        if folder.is_dir():
            path = folder / part
        else:
            path = self.shipped / name / part
            if _on_hub(name):
                cached = try_to_load_from_cache(name, part, revision=self.base["revision"])
                path = Path(cached) if isinstance(cached, str) else path
        return read_json(path) if path.is_file() else None

    def config(self, kind: Any, part: str) -> dict[str, Any]:
        """Return the config of a part, as :meth:`StoredPipeline.config` does; that of most where it is not here."""
        return self.read(f"{part}/config.json") or dict(_AUTOENCODER)


@dataclass(frozen=True)
class Architecture:
    """The denoiser's diffusers config, and its family without weights, which knows the shapes of its inputs."""

    path: str
    """Of the base."""
    denoiser: Mapping[str, Any]
    """With ``_class_name``."""
    family: Family
    clip_tokens: int
    """Tokens of a prompt that CLIP reads."""

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Return ``(c, h, w)`` of the latent of a ``size`` x ``size`` image."""
        with of_configs(self.path):
            return self.family.latent_shape(size)

    def conditioning(self, rows: int) -> Conditioning:
        """Return the conditioning of ``rows`` prompts, tensors with shapes and no values; counts of tokens are full."""
        shapes = self.family.prompt_shapes(self.clip_tokens)
        full = max((shape[0] for shape in shapes.values() if len(shape) > 1), default=0)
        return {
            name: torch.empty(rows, *shape, device=META) if shape else torch.full((rows,), full)
            for name, shape in shapes.items()
        }


def read_architecture(name: str, base: Base, shipped: Path) -> Architecture:
    """Return the architecture of the base ``name`` without touching the network.

    Config files are taken from the local folder ``base["path"]``; for a model on the hub, from the downloads that are
    already cached, else from ``shipped / base["path"]``.

    Args:
        shipped: folder of config files of known models, in the diffusers layout.

    Raises:
        UserError: no config is found, it is no JSON object, or it is of another family or of no denoiser.
    """
    entry, stored = FAMILIES[base["family"]], PlannedPipeline(base, shipped)
    kind: type[Family] = getattr(import_module(entry.module), entry.kind)
    # Unconditional pipelines on the hub keep the denoiser's config at the top.
    places = [f"{kind.part}/config.json", *(["config.json"] if kind.flat else [])]
    denoiser = next((found for place in places if (found := stored.read(place))), None)
    if denoiser is None:
        raise UserError(
            f"bases.{name}.path '{base['path']}' has no {places[0]} here, in the hub's cache or in "
            f"'{shipped}'; correct path and family, or save that file as '{shipped / base['path'] / places[0]}'."
        )
    if denoiser.get("_class_name") != kind.network.__name__:
        raise UserError(
            f"bases.{name}.family is {base['family']}, whose denoiser is a {kind.network.__name__}, but "
            f"'{base['path']}' holds a {denoiser.get('_class_name')}; correct the family."
        )
    limit = (stored.read("tokenizer/tokenizer_config.json") or {}).get("model_max_length", _CLIP_TOKENS)
    tokens = min(limit, _CLIP_TOKENS) if isinstance(limit, int) else _CLIP_TOKENS
    with of_configs(base["path"]):
        return Architecture(base["path"], denoiser, kind.planned(base, stored, denoiser), tokens)


def text_bytes(base: Base, half: bool) -> int:
    """Return the bytes of a base's text encoders as they are loaded, by the headers of their files.

    Of a base that is not on disk, all that its family loads at once counts.

    Args:
        half: their weights are kept in bfloat16.
    """
    folder = Path(base.get("config") or base["path"])
    files = sorted(folder.glob("text_encoder*/*.safetensors"))
    if not files:
        return FAMILIES[base["family"]].hub_mb * 10**6 // (2 if half else 1)
    shapes = [read_shapes(file) or {} for file in files]
    sizes = [(name, math.prod(shape)) for each in shapes for name, shape in each.items()]
    # T5 has layers that stay in float32.
    return sum(size * (2 if half and not name.endswith(".DenseReluDense.wo.weight") else 4) for name, size in sizes)


def _on_hub(path: str) -> bool:
    return path.count("/") == 1 and not path.startswith((".", "/"))
