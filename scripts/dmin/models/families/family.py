"""The interface that every model family offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline

from dmin.runtime.errors import UserError

Conditioning = dict[str, torch.Tensor]
Recorder = Callable[[int, torch.Tensor], None]


class Family(ABC):
    """A loaded diffusion model: what encodes samples, what is differentiated, and what generates.

    ``denoiser`` is the network whose parameters are trained and attributed, ``part`` the name of its folder in the
    pipeline; everything else is frozen. A pipeline may lack the parts ``optional``.
    """

    name: ClassVar[str]
    part: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    denoiser: Any
    device: torch.device
    base: str
    untrained: bool = False
    revision: str | None

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

    def long_prompts(self, prompts: Sequence[str]) -> list[int]:
        """Return the places of the prompts that are longer than every text encoder takes, and so are cut."""
        return []

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

    def reference_objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the loss of each row as DMin's published code has it, where that is not the training loss.

        Raises:
            UserError: the published code has no other loss for this family.
        """
        raise UserError(
            f"gradients.objective is reference, which only stable_diffusion_3 has; {self.name} takes training."
        )

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return training timesteps ``[count]`` in 0..999, uniform."""
        return torch.randint(0, 1000, (count,), generator=generator)

    def add_adapter(self, settings: Mapping[str, Any]) -> None:
        """Add an untrained LoRA adapter to the denoiser.

        Raises:
            UserError: the family takes none, or a target is absent.
        """
        raise UserError(f"The family {self.name} takes no adapter; set finetune to full.")

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter to ``folder`` in the diffusers format, with its rank and alpha."""
        raise UserError(f"The family {self.name} takes no adapter; set finetune to full.")

    def load_adapter(self, folder: Path) -> None:
        """Add the adapter written by :meth:`save_adapter`, with the scale it was trained with."""
        raise UserError(f"The family {self.name} takes no adapter; set finetune to full.")

    def load_denoiser(self, kind: Any, base: str, revision: str | None) -> Any:
        """Return the denoiser of a pipeline in float32; untrained where a local folder holds its config alone."""
        folder = Path(base, self.part)
        self.untrained = (folder / "config.json").is_file() and not any(folder.glob("*.safetensors*"))
        if self.untrained:
            with torch.random.fork_rng():
                return kind.from_config(kind.load_config(base, subfolder=self.part))
        return kind.from_pretrained(base, subfolder=self.part, revision=revision, torch_dtype=torch.float32)

    def initialise_denoiser(self, seed: int) -> None:
        """Draw fresh weights for the denoiser from ``seed``, as its class initialises them."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = type(self.denoiser).from_config(self.denoiser.config)
        self.denoiser.load_state_dict(fresh.state_dict())

    def save_pipeline(self, folder: Path) -> None:
        """Write the whole pipeline with this denoiser to ``folder`` in the diffusers format."""
        index = DiffusionPipeline.load_config(self.base, revision=self.revision)
        given = {name: None for name in self.optional if not index.get(name, [None])[0]}
        pipeline = DiffusionPipeline.from_pretrained(
            self.base, revision=self.revision, dtype=torch.float32, **given, **{self.part: self.denoiser}
        )
        # One file for each network, whatever its size.
        pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB")

    def _frozen(self, module: Any) -> Any:
        return module.to(self.device).eval().requires_grad_(False)
