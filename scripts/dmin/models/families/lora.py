"""Families whose denoiser takes a low-rank adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from peft import LoraConfig

from dmin.models.adapter_file import ADAPTER_FILE, DENOISER, canonicalise_adapter, read_adapter
from dmin.models.adapter_layers import adapter_parameters, keep_single, put_adapter
from dmin.models.families.family import Family
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.settings.models import Lora


class LoraFamily(Family):
    """A family with an adapter on its denoiser, and perhaps on its text encoders."""

    encoders: WeakValueDictionary[str, Any]

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
        keep_single(self.denoiser)

    def save_adapter(self, folder: Path) -> None:
        self.denoiser.save_lora_adapter(folder, safe_serialization=True, weight_name=ADAPTER_FILE)
        canonicalise_adapter(folder / ADAPTER_FILE)

    def load_part(self, part: str) -> Any:
        module = super().load_part(part)
        # Weakly, so that a family can let go of an encoder that it needs no more.
        self.__dict__.setdefault("encoders", WeakValueDictionary())[part] = module
        return module

    def load_adapter(self, folder: Path) -> None:
        """Add the adapter in a folder to those of its networks that are loaded."""
        file = folder / ADAPTER_FILE
        try:
            parts = read_adapter(file)
        except Exception as error:
            # safetensors raises whatever it likes over a foreign file.
            raise UserError(f"Adapter '{file}' cannot be loaded ({reason(error)}); train it on this base.") from error
        for name, part in parts.items():
            if name == DENOISER:
                if hasattr(self, "denoiser"):
                    put_adapter(file, self.denoiser, part, "denoiser")
            elif name in self.__dict__.get("encoders", {}):
                put_adapter(file, self.encoders[name], part, name)

    def adapted_text(self) -> dict[str, Any]:
        loaded = self.__dict__.get("encoders", {})
        return {part: loaded[part] for part in sorted(loaded) if adapter_parameters(loaded[part])}

    def text_encoder_of(self, part: str) -> Any:
        if part not in self.frozen or (part in self.optional and not (self.stored.index().get(part) or [None])[0]):
            return None
        loaded = self.__dict__.get("encoders", {}).get(part)
        return self.load_part(part) if loaded is None else loaded
