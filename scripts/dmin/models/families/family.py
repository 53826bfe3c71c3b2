"""The interface that every model family offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from dmin.models.families.inputs import require_no_further_input
from dmin.models.families.sampling import Conditioning, Recorder, Sampling
from dmin.models.gate.pipeline import StoredPipeline, is_tokenizer
from dmin.models.gate.tokens import require_length, require_vocabulary
from dmin.models.shapes import load_reshaped, own_shapes, read_shapes, reshape, write_shapes
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError
from dmin.settings.models import Lora

# Parts that pipelines hold and nothing here uses.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


class Family(ABC):
    """A loaded diffusion model: what encodes samples, what is differentiated, and what generates.

    ``denoiser`` is the network whose parameters are trained and attributed, of the class ``network``, ``part`` the
    name of its folder in the pipeline; everything else is frozen. ``frozen`` are the classes of the other parts,
    networks and tokenizers, of which a pipeline may lack those in ``optional``. ``untrained`` says that the pipeline
    holds no weights of the denoiser, ``preconditioned`` that its loss is that of the clean latents.

    Args:
        base: a pipeline folder, or a model's name on the hub.
        revision: of the model on the hub.
        device: where everything is put, in float32 and eval mode.
        parts: what is loaded: ``encoders``, ``denoiser``; with ``untrained``, a denoiser may have no weights.
    """

    network: ClassVar[Any]
    part: ClassVar[str]
    pipeline: ClassVar[Any]
    frozen: ClassVar[Mapping[str, Any]] = {}
    optional: ClassVar[tuple[str, ...]] = ()
    flat: ClassVar[bool] = False
    denoiser: Any
    target: Target
    untrained: bool = False
    preconditioned: bool = False

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.base, self.revision, self.device = base, revision, device
        self.stored = StoredPipeline(base, revision, self.flat)
        self.target = self.load_target()
        self.stored.require_parts({self.part, "scheduler", *self.frozen}, UNUSED, self.name)
        if "encoders" in parts:
            self.load_encoders()
        if "denoiser" in parts:
            self.denoiser = self._frozen(self._load_denoiser("untrained" in parts))

    @property
    def name(self) -> str:
        """Its name in the config: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def denoiser_config(self) -> dict[str, Any]:
        """The config of the pipeline's denoiser, which need not be loaded."""
        return self.stored.config(self.network, self.part)

    @abstractmethod
    def load_target(self) -> Target:
        """Return what the denoiser is trained to predict, with the pipeline's noise schedule."""

    def load_encoders(self) -> None:  # noqa: B027 (a family on pixels has none)
        """Load what turns images and prompts into latents and conditioning."""

    @abstractmethod
    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape ``(c, h, w)`` of the latent of a ``size`` x ``size`` image; needs the encoders.

        Raises:
            UserError: the encoders or the denoiser do not take images of that size.
        """

    def require_latents(self, shape: Sequence[int]) -> None:
        """Check that the denoiser takes latents of ``shape``, ``(c, h, w)``, and answers with such.

        Raises:
            UserError: it has other channels.
        """
        config = self.denoiser.config
        taken, given = config.in_channels, config.out_channels or config.in_channels
        if {taken, given} != {shape[0]}:
            raise UserError(
                f"The denoiser of '{self.base}' takes {taken} channels and gives {given}, and its latents have "
                f"{shape[0]}; use a base of one kind, without inputs beside the image."
            )

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
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the training loss of each row, float32 ``[batch]``: the mean squared error over the row's elements.

        Where the base is ``preconditioned``, that of the clean latents which the output leads back to.
        """
        prediction = self.predict(latents, noise, timesteps, conditioning)
        loss = _mean_square(prediction.float() - self.target.of(latents, noise, timesteps).float())
        return loss * self.target.preconditioned_weight(timesteps).float() if self.preconditioned else loss

    def reference_objective(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the loss of each row as DMin's published code has it, where that is not the training loss.

        Raises:
            UserError: the published code has no other loss for this family.
        """
        target = self.target.reference(latents, noise, timesteps)
        return _mean_square(self.predict(latents, noise, timesteps, conditioning).float() - target.float())

    def output_norm(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the mean of the denoiser's squared output over the elements of each row, float32 ``[batch]``.

        The error against zero: what the model was trained to predict never enters. Source: D-TRAK, its code.
        """
        return _mean_square(self.predict(latents, noise, timesteps, conditioning).float())

    def output_mean(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the mean of the denoiser's output over the elements of each row, and beside it its error.

        The error is the root of the mean squared difference from the target; nothing can be differentiated through it.

        Returns:
            float32 ``[2, batch]``.
        """
        prediction = self.predict(latents, noise, timesteps, conditioning).float()
        error = _mean_square(prediction.detach() - self.target.of(latents, noise, timesteps).float()).sqrt()
        return torch.stack([prediction.flatten(1).mean(1), error])

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

    def text_encoder_of(self, part: str) -> Any:
        """Return a text encoder that an adapter may change, by its name in the pipeline, loaded if it was not.

        None where there is none of that name.
        """
        return None

    def load_part(self, part: str) -> Any:
        """Return a network of the pipeline that nothing trains, of the class in ``frozen``."""
        return self._frozen(self.stored.network(self.frozen[part], part))

    def load_tokenizer(self, part: str, encoder: Any, positions: int | None) -> Any:
        """Return a tokenizer of the pipeline for a text ``encoder`` that takes ``positions`` tokens, None for any.

        Raises:
            UserError: its files are not whole, or it does not belong to the encoder.
        """
        tokenizer, where = self.stored.tokenizer(self.frozen[part], part), f"{self.base}/{part}"
        require_vocabulary(tokenizer, where, encoder.config.vocab_size)
        if positions is not None:
            require_length(tokenizer, where, positions)
        return tokenizer

    def _load_denoiser(self, may_be_untrained: bool) -> Any:
        """Return the denoiser; untrained where that is allowed and a local folder holds its config alone."""
        require_no_further_input(self.denoiser_config, self.base)
        self.untrained = self.stored.untrained(self.network, self.part)
        place = self.stored.place(self.part)
        manifest = None if place is None else read_shapes(place)
        if not self.untrained and manifest is None:
            return self.stored.network(self.network, self.part)
        if self.untrained and not (self.flat and may_be_untrained):
            remedy = ", or have it trained (finetune: full)" if self.flat else ""
            raise UserError(f"Base '{self.base}' has no weights of its {self.part}; add them{remedy}.")
        with torch.random.fork_rng():
            network = self.network.from_config(self.stored.config(self.network, self.part))
            if manifest is not None:
                reshape(network, manifest)
        if not self.untrained and place is not None:
            self.stored.check(self.network, self.part)
            load_reshaped(network, place)
        return network

    def initialise_denoiser(self, seed: int) -> None:
        """Draw fresh weights for the denoiser from ``seed``, as its class initialises them."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = type(self.denoiser).from_config(self.denoiser.config)
            manifest = own_shapes(self.denoiser)
            if manifest is not None:
                reshape(fresh, manifest)
        self.denoiser.load_state_dict(fresh.state_dict())

    def load_beside(self) -> dict[str, Any]:
        """Return every part but denoiser and scheduler, None for those that are absent.

        What samples need of it is in memory once the encoders are loaded; a whole pipeline is written with all of it.
        """
        index = self.stored.index()
        beside: dict[str, Any] = {name: None for name in UNUSED if name in index}
        for part, kind in self.frozen.items():
            absent = part in self.optional and not (index.get(part) or [None])[0]
            load = self.stored.tokenizer if is_tokenizer(kind) else self.stored.network
            beside[part] = None if absent else load(kind, part)
        return beside

    def require_parts(self) -> None:
        """Check, before a training of hours, that every part that a whole pipeline is written with can be read.

        Raises:
            UserError: as :meth:`StoredPipeline.check`.
        """
        index = self.stored.index()
        for part, kind in self.frozen.items():
            if part not in self.optional or (index.get(part) or [None])[0]:
                self.stored.check(kind, part)

    def save_pipeline(self, folder: Path) -> None:
        """Write the whole pipeline with this denoiser to ``folder`` in the diffusers format.

        Parts that nothing here uses, as a safety checker, are left out.
        """
        given = {**self.load_beside(), self.part: self.denoiser}
        pipeline = self.pipeline.from_pretrained(self.base, revision=self.revision, dtype=torch.float32, **given)
        # One file for each network, whatever its size.
        pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB")
        write_shapes(self.denoiser, folder / self.part)

    def _frozen(self, module: Any) -> Any:
        return module.to(self.device).eval().requires_grad_(False)


def _mean_square(rows: torch.Tensor) -> torch.Tensor:
    return rows.square().flatten(1).mean(1)
