"""The interface that every model family offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from dmin.models.families.sampling import Conditioning, Recorder, Sampling
from dmin.models.shapes import own_shapes, read_shapes, reshape, write_shapes
from dmin.models.targets.target import Target
from dmin.runtime.errors import UserError
from dmin.settings.models import Lora


class Family(ABC):
    """A loaded diffusion model: what encodes samples, what is differentiated, and what generates.

    ``denoiser`` is the network whose parameters are trained and attributed, of the class ``network``, ``part`` the
    name of its folder in the pipeline; everything else is frozen. A pipeline may lack the parts ``optional``.
    ``untrained`` says that the pipeline holds no weights of the denoiser.

    Args:
        base: a pipeline folder, or a model's name on the hub.
        revision: of the model on the hub.
        device: where everything is put, in float32 and eval mode.
        parts: what is loaded: ``encoders``, ``denoiser``.
    """

    network: ClassVar[Any]
    part: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    denoiser: Any
    target: Target
    untrained: bool = False

    def __init__(self, base: str, revision: str | None, device: torch.device, parts: Sequence[str]) -> None:
        self.base, self.revision, self.device = base, revision, device
        self.target = self.load_target()
        if "encoders" in parts:
            self.load_encoders()
        if "denoiser" in parts:
            self.denoiser = self._frozen(self._load_denoiser())

    @property
    def name(self) -> str:
        """Its name in the config: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def load_target(self) -> Target:
        """Return what the denoiser is trained to predict, with the pipeline's noise schedule."""

    def load_encoders(self) -> None:  # noqa: B027 (a family on pixels has none)
        """Load what turns images and prompts into latents and conditioning."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape ``(c, h, w)`` of one latent."""
        config = self.denoiser.config
        return (config.in_channels, config.sample_size, config.sample_size)

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
        """Return the training loss of each row, float32 ``[batch]``: the mean squared error over the row's elements."""
        prediction = self.predict(latents, noise, timesteps, conditioning)
        return _mean_square(prediction.float() - self.target.of(latents, noise, timesteps).float())

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

    def load_frozen(self, kind: Any, part: str) -> Any:
        """Return a part of the pipeline, of the class ``kind``, that nothing trains."""
        return self._frozen(self._load(kind, part))

    def _load(self, kind: Any, part: str) -> Any:
        return kind.from_pretrained(self.base, subfolder=part, revision=self.revision, torch_dtype=torch.float32)

    def _load_denoiser(self) -> Any:
        """Return the denoiser; untrained where a local folder holds its config alone."""
        folder = Path(self.base, self.part)
        self.untrained = (folder / "config.json").is_file() and not any(folder.glob("*.safetensors*"))
        manifest = read_shapes(folder)
        if not self.untrained and manifest is None:
            return self._load(self.network, self.part)
        with torch.random.fork_rng():
            network = self.network.from_config(self.network.load_config(self.base, subfolder=self.part))
            if manifest is not None:
                reshape(network, manifest)
        if not self.untrained:
            _load_reshaped(network, folder)
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

    def save_pipeline(self, folder: Path) -> None:
        """Write the whole pipeline with this denoiser to ``folder`` in the diffusers format."""
        index = DiffusionPipeline.load_config(self.base, revision=self.revision)
        given = {name: None for name in self.optional if not index.get(name, [None])[0]}
        pipeline = DiffusionPipeline.from_pretrained(
            self.base, revision=self.revision, dtype=torch.float32, **given, **{self.part: self.denoiser}
        )
        # One file for each network, whatever its size.
        pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB")
        write_shapes(self.denoiser, folder / self.part)

    def _frozen(self, module: Any) -> Any:
        return module.to(self.device).eval().requires_grad_(False)


def _load_reshaped(network: Any, folder: Path) -> None:
    """Load the weights of a network that was given other shapes than those of its config."""
    state = {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"The weights in '{folder}' do not fit its shapes.json; make it again.") from error


def _mean_square(rows: torch.Tensor) -> torch.Tensor:
    return rows.square().flatten(1).mean(1)
