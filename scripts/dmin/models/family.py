"""The interface every model family offers, and the registry of families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from dmin.errors import UserError

Conditioning = dict[str, torch.Tensor]
Recorder = Callable[[int, torch.Tensor], None]


class Family(ABC):
    """A loaded diffusion model: what encodes samples, what is differentiated, and what generates.

    ``denoiser`` is the network whose parameters are trained and attributed; everything else is frozen.
    """

    name: ClassVar[str]
    denoiser: Any

    @classmethod
    @abstractmethod
    def load(cls, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> Family:
        """Load the named ``parts`` (``encoders``, ``denoiser``) of a pretrained pipeline in float32, in eval mode."""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """Shape ``(c, h, w)`` of one latent."""

    @abstractmethod
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return scaled latents ``[batch, c, h, w]`` of pixels ``[batch, 3, size, size]`` in [-1, 1]; never sampled."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning tensors of ``prompts``, each ``[batch, ...]``."""

    @abstractmethod
    def objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the training loss of each row, float32 ``[batch]``: the mean squared error over the row's elements."""

    @abstractmethod
    def predict(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the denoiser's output ``[batch, ...]`` for ``latents`` that ``noise`` was added to."""

    def output_norm(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the mean of the denoiser's squared output over the elements of each row, float32 ``[batch]``.

        The error against zero: what the model was trained to predict never enters. Source: D-TRAK, its code.
        """
        return self.predict(latents, noise, timesteps, conditioning).float().square().flatten(1).mean(1)

    @abstractmethod
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        steps: int,
        guidance: float,
        record: Recorder | None = None,
    ) -> np.ndarray:
        """Generate images from initial ``noise`` ``[batch, c, h, w]``; uint8 ``[batch, size, size, 3]``.

        ``record(timestep, clean)`` is called at every step with the clean latents ``[batch, c, h, w]`` that the
        denoiser predicts there, guidance included.
        """

    @abstractmethod
    def add_adapter(self, settings: Mapping[str, Any]) -> None:
        """Add an untrained LoRA adapter to the denoiser."""

    @abstractmethod
    def save_adapter(self, folder: Path) -> None:
        """Write the adapter to ``folder`` in the diffusers format, with its rank and alpha."""

    @abstractmethod
    def load_adapter(self, folder: Path) -> None:
        """Add the adapter written by :meth:`save_adapter`, with the scale it was trained with."""


_LOADERS: dict[str, Callable[[], type[Family]]] = {}


def register_family(name: str) -> Callable[[Callable[[], type[Family]]], Callable[[], type[Family]]]:
    """Register a function that imports and returns a family's class under ``name``."""

    def register(loader: Callable[[], type[Family]]) -> Callable[[], type[Family]]:
        _LOADERS[name] = loader
        return loader

    return register


@register_family("stable_diffusion")
def _stable_diffusion() -> type[Family]:
    from dmin.models.stable_diffusion import StableDiffusion

    return StableDiffusion


def load_family(config: Mapping[str, Any], device: torch.device, parts: Sequence[str]) -> Family:
    """Load the base pipeline of ``config`` (``family``, ``path``, ``revision``).

    Raises:
        UserError: no such family, or the pipeline cannot be loaded.
    """
    if config["family"] not in _LOADERS:
        raise UserError(f"family '{config['family']}' is unknown; choose one of {', '.join(sorted(_LOADERS))}.")
    family = _LOADERS[config["family"]]()
    try:
        return family.load(config["path"], config["revision"], device, parts)
    except OSError as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"Base '{config['path']}' cannot be loaded ({detail}); set path to a folder in the diffusers format or "
            "a model on the hub."
        ) from error
