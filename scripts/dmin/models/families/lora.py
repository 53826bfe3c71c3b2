"""Families whose denoiser takes a LoRA adapter through diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file

from dmin.models.adapter_file import ADAPTER_FILE, canonicalise_adapter
from dmin.models.adapter_names import PARTS
from dmin.models.families.family import Family
from dmin.models.gate.finite import first_not_finite
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Lora


class LoraFamily(Family):
    """A family with a LoRA adapter on its denoiser's linear layers."""

    def add_adapter(self, settings: Lora) -> None:
        present = {name.split(".")[-1] for name, _ in self.denoiser.named_modules()} | {"to_out.0"}
        absent = [target for target in settings["targets"] if target not in present]
        if absent:
            raise UserError(f"lora.targets names '{absent[0]}', which the denoiser does not have; correct the list.")
        self.denoiser.add_adapter(
            LoraConfig(
                r=settings["rank"],
                lora_alpha=settings["alpha"],
                target_modules=list(settings["targets"]),
                init_lora_weights="gaussian",
            )
        )
        if self.half:
            self._adapter_in_float32()

    def _adapter_in_float32(self) -> None:
        """Keep an adapter in single precision, which PEFT makes in that of the layer below it."""
        for name, value in self.denoiser.named_parameters():
            if "lora_" in name:
                value.data = value.data.float()

    def save_adapter(self, folder: Path) -> None:
        self.denoiser.save_lora_adapter(folder, safe_serialization=True, weight_name=ADAPTER_FILE)
        canonicalise_adapter(folder / ADAPTER_FILE)

    def _require_places(self, file: Path, shapes: Mapping[str, Sequence[int]]) -> None:
        """Check that each tensor of an adapter is as wide as the layer that it names; those of PEFT are named so."""
        layers = dict(self.denoiser.named_modules())
        for name, shape in sorted(shapes.items()):
            side = next((side for side, part in enumerate(PARTS) if name.endswith(part)), None)
            weight = None if side is None else getattr(layers.get(name.removesuffix(PARTS[side])), "weight", None)
            if side is None or weight is None:
                raise UserError(
                    f"Adapter '{file}' and the denoiser differ in '{shown(name)}', whose layer the denoiser does not "
                    "have; train it on this base."
                )
            # lora_A takes what the layer takes, lora_B gives what it gives.
            wanted = weight.shape[1 - side]
            if len(shape) != weight.ndim or shape[1 - side] != wanted:
                raise UserError(
                    f"Adapter '{file}' and the denoiser differ in '{shown(name)}': it is {list(shape)} and the layer's "
                    f"width {wanted}; train it on this base."
                )

    def load_adapter(self, folder: Path) -> None:
        file, name = folder / ADAPTER_FILE, "default"
        try:
            with safe_open(file, framework="pt") as stored:
                shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
            self._require_places(file, shapes)
            self.denoiser.load_lora_adapter(
                str(folder), prefix=None, weight_name=ADAPTER_FILE, adapter_name=name, use_safetensors=True
            )
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # diffusers and PEFT raise whatever they like over a foreign file.
            raise UserError(f"Adapter '{file}' cannot be loaded ({reason(error)}); train it on this base.") from error
        if self.half:
            # What went into half precision is read again, as exact as it is stored.
            self._adapter_in_float32()
            set_peft_model_state_dict(self.denoiser, load_file(file), adapter_name=name)
        # diffusers only warns about weights without a place, and leaves places without weights at random.
        unmatched = sorted(set(shapes) ^ set(get_peft_model_state_dict(self.denoiser, adapter_name=name)))
        if unmatched:
            raise UserError(
                f"Adapter '{file}' and the denoiser differ in '{shown(unmatched[0])}'; train it on this base."
            )
        bad = first_not_finite((key, value) for key, value in self.denoiser.named_parameters() if "lora_" in key)
        if bad is not None:
            raise UserError(f"Adapter '{file}' has values in '{bad}' that are not finite; train it again.")
        self.denoiser.eval().requires_grad_(False)
