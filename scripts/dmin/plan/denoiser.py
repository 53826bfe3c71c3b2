"""A denoiser without weights: its parameters, and the memory of its backward pass."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from peft import LoraConfig
from torch import Tensor

from dmin.gradients.layer_sink import layer_group
from dmin.gradients.selection import select_parameters
from dmin.plan.architecture import META, Architecture, of_configs
from dmin.runtime.attributed import ADAPTER, WITH_TEXT
from dmin.runtime.errors import UserError
from dmin.settings.models import Lora


class MetaDenoiser:
    """A run's denoiser on the meta device, where tensors have shapes and no values.

    Args:
        architecture: of the base pipeline.
        lora: the adapter; None for a model that is fine-tuned in full.
        selection: the attributed parameters, as in ``gradients.parameters``.

    Raises:
        UserError: the config gives no denoiser, the adapter has no place in it, or the selection matches nothing.
    """

    def __init__(self, architecture: Architecture, lora: Lora | None, selection: str) -> None:
        self._architecture = architecture
        with of_configs(architecture.path), torch.device("meta"):
            self.model: Any = getattr(diffusers, architecture.denoiser["_class_name"]).from_config(
                dict(architecture.denoiser)
            )
        if lora is not None:
            self._add_adapter(lora)
        # Of text encoders there are no configs here: what an adapter has there, its file tells.
        named = select_parameters(self.model, ADAPTER if selection == WITH_TEXT else selection)
        parameters = list(named.values())
        self._parts = {"one": 1, "layers": len({*map(layer_group, named)})}
        self.model.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self.attributed = sum(value.numel() for value in parameters)
        """P, the number of attributed values."""
        self.largest = max(value.numel() for value in parameters)
        """Values of the largest attributed tensor."""
        self.total = sum(value.numel() for value in self.model.parameters())
        """Values of the whole denoiser, adapter included."""

    def _add_adapter(self, lora: Lora) -> None:
        try:
            with torch.device("meta"):
                self.model.add_adapter(
                    LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=list(lora["targets"]))
                )
        except ValueError as error:
            raise UserError(
                f"lora.targets {list(lora['targets'])} has no place in a {type(self.model).__name__}; correct the list."
            ) from error

    def parts(self, kind: str) -> int:
        """Return how many sketches a gradient has: ``one``, or one for each group of ``layers``."""
        return self._parts[kind]

    def weight_bytes(self, half: bool) -> int:
        """Return the bytes of all weights: float32, or bfloat16 for those of frozen linear layers if ``half``."""
        saved = [
            2 * module.weight.numel()
            for name, module in self.model.named_modules()
            if type(module) is torch.nn.Linear and "lora_" not in name
        ]
        return 4 * self.total - (sum(saved) if half else 0)

    def saved_bytes(self, size: int) -> int:
        """Return the float32 bytes that one (sample, timestep) row of ``size`` px keeps for the backward pass.

        Plain attention keeps its weights, fused attention does not: this counts what PyTorch keeps without a fused
        kernel.
        """
        # What two rows keep beyond one leaves out weights, which are kept too.
        with of_configs(self._architecture.path):
            return self._kept(size, 2) - self._kept(size, 1)

    def _kept(self, size: int, rows: int) -> int:
        kept: list[Tensor] = []

        def keep(value: Tensor) -> Tensor:
            kept.append(value)
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            self._forward(size, rows)
        storages = {value.untyped_storage()._cdata: value.untyped_storage().nbytes() for value in kept}
        return sum(storages.values())

    def _forward(self, size: int, rows: int) -> Any:
        family = self._architecture.family
        family.denoiser = self.model
        latents = torch.empty(rows, *family.latent_shape(size), device=META)
        return family.denoise(latents, torch.zeros(rows, device=META), self._architecture.conditioning(rows))

    def conditioning_values(self) -> int:
        """Return the values of one encoded prompt."""
        return sum(value.numel() for value in self._architecture.conditioning(1).values())
