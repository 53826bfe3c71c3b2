"""Adapters as others write them, with PEFT itself for what they should do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_pipeline import CPU, random_samples

from dmin.models.load import load_family
from dmin.models.own_weights import import_adapter
from dmin.runtime.errors import UserError

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def answer(denoiser: Any) -> torch.Tensor:
    """Return what a denoiser answers to fixed random inputs."""
    samples = random_samples(2)
    with torch.no_grad():
        inputs = (samples.latents, torch.tensor([900, 10]), samples.conditioning["prompt_embeds"])
        return torch.as_tensor(denoiser(*inputs).sample)


def peft_adapter(
    base: Mapping[str, Any], dtype: torch.dtype = torch.float32, **settings: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any], torch.Tensor]:
    """Return the tensors and the config of an adapter that PEFT made, and what the denoiser answers with it."""
    family = load_family(base, CPU, ["denoiser"])
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **settings})
    inject_adapter_in_model(config, family.denoiser)
    generator = torch.Generator().manual_seed(1)
    for name, value in family.denoiser.named_parameters():
        if "lora_" in name:
            value.data = (0.1 * torch.randn(value.shape, generator=generator)).to(dtype).float()
    tensors = {name: value.detach().to(dtype) for name, value in get_peft_model_state_dict(family.denoiser).items()}
    told = config.to_dict()
    told["target_modules"] = sorted(told["target_modules"])
    return tensors, json.loads(json.dumps(told, default=str)), answer(family.denoiser.eval())


def write_peft(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Path:
    """Write an adapter in PEFT's format and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"base_model.model.{name}": value.contiguous() for name, value in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(dict(config)))
    return folder


def write_diffusers(
    file: Path, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any], prefix: str = "unet."
) -> Path:
    """Write an adapter in the diffusers format, with ``settings`` in its header, and return its file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": "pt", "lora_adapter_metadata": json.dumps(dict(settings))}
    save_file({f"{prefix}{name}": value.contiguous() for name, value in tensors.items()}, file, metadata=header)
    return file


def imported(path: Path, base: Mapping[str, Any], folder: Path, alpha: int | None = None) -> torch.Tensor:
    """Import an adapter and return what the denoiser answers with it."""
    folder.mkdir(parents=True)
    out = folder / "pytorch_lora_weights.safetensors"
    import_adapter({"path": str(path), "revision": None, "alpha": alpha}, base, out, folder / "model.json")
    family = load_family(base, CPU, ["denoiser"])
    family.load_adapter(folder)
    return answer(family.denoiser)


def refused(path: Path, base: Mapping[str, Any], folder: Path, sentence: str, alpha: int | None = None) -> None:
    """Import an adapter that must be refused in one sentence, with nothing left behind."""
    with pytest.raises(UserError, match=sentence) as caught:
        imported(path, base, folder / "out", alpha)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 450
    assert list((folder / "out").iterdir()) == []
