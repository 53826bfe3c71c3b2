"""The interface that every model family offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from dmin.catalogue.families import FAMILIES
from dmin.models.families.inputs import require_no_further_input
from dmin.models.families.parts import Parts
from dmin.models.families.sampling import Conditioning, Recorder, Sampling
from dmin.models.families.texts import Texts
from dmin.models.gate.pipeline import StoredPipeline
from dmin.models.shapes import own_shapes, reshape, write_shapes
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError
from dmin.settings.models import Base, Lora


class Family(Parts, Texts, ABC):
    """A loaded diffusion model: what encodes samples, what is differentiated, and what generates.

    ``denoiser`` is the network whose parameters are trained and attributed, of the class ``network``, ``part`` the
    name of its folder in the pipeline; everything else is frozen. ``frozen`` are the classes of the other parts,
    networks and tokenizers, of which a pipeline may lack those in ``optional``; ``further`` are the denoiser's inputs
    beside latents, time and prompt that the family gives. ``untrained`` says that the pipeline
    holds no weights of the denoiser, ``preconditioned`` that its loss is that of the clean latents,
    ``guidance`` what its guidance embedding is given in training and gradients, None without one.

    Args:
        base: as in the config: a pipeline folder, or a model's name on the hub.
        device: where everything is put, in eval mode and float32, or with linear layers in bfloat16 where the base's
            ``precision`` says so.
        parts: what is loaded: ``autoencoder``, ``text``, both as ``encoders``, and ``denoiser``; with ``untrained``, a
            denoiser may have no weights.
    """

    denoiser: Any
    target: Target
    preconditioned: bool = False
    guidance: float | None = None

    def __init__(self, base: Base, device: torch.device, parts: Sequence[str]) -> None:
        self.base, self.device = base["path"], device
        self.stored = StoredPipeline.of(base, self.flat)
        self.half = base.get("precision") == "bfloat16"
        self.preconditioned = base.get("preconditioned", False)
        given = base.get("guidance")
        self.guidance = FAMILIES[base["family"]].guidance if given is None else given
        self.target = self.load_target()
        self.require_family()
        # Configs alone tell, before a data set is encoded for nothing.
        require_no_further_input(self.denoiser_config, self.base, self.further)
        self.require_latents((self.latent_channels(),))
        if {"encoders", "autoencoder"} & {*parts}:
            self.load_autoencoder()
        if {"encoders", "text"} & {*parts}:
            self.load_text_encoders()
        if "denoiser" in parts:
            self.denoiser = self.freeze(self.read_denoiser("untrained" in parts))

    @classmethod
    def planned(cls, base: Base, stored: Any, config: dict[str, Any]) -> Self:
        """Return a family without parts, which knows its shapes and denoises on the meta device.

        Args:
            stored: gives configs as :class:`StoredPipeline` does.
            config: that of the denoiser.
        """
        family = cls.__new__(cls)
        family.base, family.device, family.stored, family.guidance = base["path"], torch.device("meta"), stored, 1.0
        # What shapes are asked of before there is a network.
        family.planned_config = config
        return family

    @property
    def name(self) -> str:
        """Its name in the config: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def load_target(self) -> Target:
        """Return what the denoiser is trained to predict, with the pipeline's noise schedule."""

    def load_autoencoder(self) -> None:
        """Load what turns images into latents and back."""

    def load_text_encoders(self) -> None:
        """Load what turns prompts into conditioning."""

    @abstractmethod
    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape ``(c, h, w)`` of the latent of a ``size`` x ``size`` image; needs no part.

        Raises:
            UserError: the encoders or the denoiser do not take images of that size.
        """

    def require_latents(self, shape: Sequence[int]) -> None:
        """Check that the denoiser takes latents of ``shape``, ``(c, h, w)``, and answers with such; needs no part.

        Raises:
            UserError: it has other channels.
        """
        taken, given = self.channels()
        if {taken, given} != {shape[0]}:
            raise UserError(
                f"The denoiser of '{self.base}' takes {taken} channels and gives {given}, and its latents have "
                f"{shape[0]}; use a base of one kind, without inputs beside the image."
            )

    def latent_channels(self) -> int:
        """Return how many channels latents have; needs no part."""
        channels: int = self.part_config("vae")["latent_channels"]
        return channels

    def channels(self) -> tuple[int, int]:
        """Return the channels of the latents that the denoiser takes, and of those that it gives; needs no part."""
        config = self.denoiser_config
        return config["in_channels"], config["out_channels"] or config["in_channels"]

    @abstractmethod
    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return scaled latents ``[batch, c, h, w]`` of pixels ``[batch, 3, size, size]`` in [-1, 1]; never sampled."""

    @abstractmethod
    def denoise(self, noised: torch.Tensor, times: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Return the denoiser's output, as latents.

        Args:
            noised: ``[batch, c, h, w]``.
            times: as :meth:`Target.noised` gives them, ``[batch]`` or one for all.
        """

    def predict(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the denoiser's output ``[batch, ...]`` for ``latents`` that ``noise`` was added to."""
        return self.denoise(*self.target.noised(latents, noise, timesteps), conditioning)

    def objective(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the training loss of each row, float32 ``[batch]``: the mean squared error over the row's elements.

        Where the base is ``preconditioned``, that of the clean latents which the output leads back to.

        Args:
            mask: ``[batch, h, w]`` in 0..1, what counts of each element's error; it stays a mean over all elements, so
                that the losses under masks which sum to 1 sum to the whole loss.
        """
        prediction = self.predict(latents, noise, timesteps, conditioning)
        loss = _mean_square(prediction.float() - self.target.of(latents, noise, timesteps).float(), mask)
        return loss * self.target.preconditioned_weight(timesteps).float() if self.preconditioned else loss

    def reference_objective(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of each row as DMin's published code has it, where that is not the training loss.

        ``mask`` is that of :meth:`objective`, as in the quantities below.

        Raises:
            UserError: the published code has no other loss for this family.
        """
        target = self.target.reference(latents, noise, timesteps)
        return _mean_square(self.predict(latents, noise, timesteps, conditioning).float() - target.float(), mask)

    def output_norm(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean of the denoiser's squared output over the elements of each row, float32 ``[batch]``.

        The error against zero: what the model was trained to predict never enters. Source: D-TRAK, its code.
        """
        return _mean_square(self.predict(latents, noise, timesteps, conditioning).float(), mask)

    def output_mean(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Conditioning,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean of the denoiser's output over the elements of each row, and beside it its error.

        The error is the root of the mean squared difference from the target; nothing can be differentiated through it.

        Returns:
            float32 ``[2, batch]``.
        """
        prediction = self.predict(latents, noise, timesteps, conditioning).float()
        error = _mean_square(prediction.detach() - self.target.of(latents, noise, timesteps).float(), mask).sqrt()
        return torch.stack([_masked(prediction, mask).flatten(1).mean(1), error])

    @abstractmethod
    def sample(
        self,
        conditioning: Conditioning,
        unconditional: Conditioning,
        noise: torch.Tensor,
        settings: Sampling,
        record: Recorder | None = None,
    ) -> np.ndarray:
        """Generate images from initial ``noise`` ``[batch, c, h, w]``; uint8 ``[batch, size, size, 3]``.

        ``record(timestep, clean)`` is called at every step with the clean latents ``[batch, c, h, w]`` that the
        denoiser predicts there, guidance included.
        """

    def add_adapter(self, settings: Lora) -> None:
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

    def initialise_denoiser(self, seed: int) -> None:
        """Draw fresh weights for the denoiser from ``seed``, as its class initialises them."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = type(self.denoiser).from_config(self.denoiser.config)
            manifest = own_shapes(self.denoiser)
            if manifest is not None:
                reshape(fresh, manifest)
        self.denoiser.load_state_dict(fresh.state_dict())

    def save_pipeline(self, folder: Path) -> None:
        """Write the whole pipeline with this denoiser to ``folder`` in the diffusers format.

        Parts that nothing here uses, as a safety checker, are left out.
        """
        given = {**self.load_beside(), self.part: self.denoiser}
        pipeline = self.pipeline.from_pretrained(
            self.stored.path, revision=self.stored.revision, dtype=torch.float32, **given
        )
        # One file for each network, whatever its size.
        pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB")
        write_shapes(self.denoiser, folder / self.part)


def _mean_square(rows: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return _masked(rows.square(), mask).flatten(1).mean(1)


def _masked(rows: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return rows if mask is None else rows * mask.unsqueeze(1)
