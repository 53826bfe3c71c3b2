"""The models whose per-sample gradients are timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel, UNet2DModel
from peft import LoraConfig
from torch import Tensor, nn

from dmin.gradients.selection import select_parameters

Call = Callable[..., Any]


@dataclass
class Case:
    """A denoiser, a batch of inputs for it, and the parameters that are attributed."""

    name: str
    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    inputs: tuple[Tensor, ...]
    """Latents, timesteps, then conditioning; the first axis is the batch."""
    width: int
    autocast: torch.dtype | None

    @property
    def batch(self) -> int:
        """Number of (sample, timestep) rows in one step."""
        return self.inputs[0].shape[0]

    @property
    def device(self) -> torch.device:
        """Where the model and the inputs are."""
        return self.inputs[0].device

    def losses(self, call: Call, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the mean squared output of each row, fp32 ``[batch]``; ``call`` stands in for the model."""
        latents, timesteps, *conditioning = inputs
        kind = self.device.type
        with torch.autocast(kind, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            if isinstance(self.model, SD3Transformer2DModel):
                output = call(latents, conditioning[0], conditioning[1], timesteps).sample
            elif getattr(self.model.config, "addition_embed_type", None) == "text_time":
                added = {"text_embeds": conditioning[1], "time_ids": conditioning[2]}
                output = call(latents, timesteps, conditioning[0], added_cond_kwargs=added).sample
            else:
                output = call(latents, timesteps, *conditioning).sample
        return output.float().square().flatten(1).mean(1)


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[Path], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    selection: str
    width: int
    cpu_batch: int
    gpu_batch: int
    needs_gpu: bool = False


def _embedded(pipeline: Path) -> nn.Module:
    if (pipeline / "unet").is_dir():
        return UNet2DConditionModel.from_pretrained(pipeline / "unet")
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def _ddpm_cifar(_: Path) -> nn.Module:
    return UNet2DModel(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def _sd14(_: Path) -> nn.Module:
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def _sd3(_: Path) -> nn.Module:
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        out_channels=16,
        pos_embed_max_size=192,
    )


def _sdxl(_: Path) -> nn.Module:
    return UNet2DConditionModel.from_config(read_architecture("stabilityai/stable-diffusion-xl-base-1.0/unet"))


def read_architecture(name: str) -> dict[str, Any]:
    """Return the config of a network that ships without weights, by its folder in ``resources/architectures``."""
    path = Path(__file__).resolve().parents[1] / "resources" / "architectures" / name / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


_SD3_SHAPES = ((16, 64, 64), (333, 4096), (2048,))

_RECIPES = {
    "embedded": _Recipe(_embedded, ((8, 8, 8), (8, 128)), "adapter", 16_384, 64, 512),
    "ddpm_cifar": _Recipe(_ddpm_cifar, ((3, 32, 32),), "all", 65_536, 8, 64),
    "sd14_lora": _Recipe(_sd14, ((4, 64, 64), (77, 768)), "adapter", 65_536, 2, 16, needs_gpu=True),
    "sdxl_lora": _Recipe(_sdxl, ((4, 64, 64), (77, 2048), (1280,), (6,)), "adapter", 65_536, 1, 16, needs_gpu=True),
    "sd3_lora": _Recipe(_sd3, _SD3_SHAPES, "adapter", 65_536, 1, 16, needs_gpu=True),
    "sd3_full": _Recipe(_sd3, _SD3_SHAPES, "transformer_blocks", 65_536, 1, 8, needs_gpu=True),
}

CASE_NAMES = tuple(_RECIPES)


def needs_gpu(name: str) -> bool:
    """Return whether a case is too large to be worth timing on a CPU."""
    return _RECIPES[name].needs_gpu


def build_case(
    name: str, device: torch.device, pipeline: Path, batch: int | None, autocast: torch.dtype | None
) -> Case:
    """Build a case with random adapter weights and inputs; weights are random except for a ``pipeline`` that exists."""
    recipe = _RECIPES[name]
    torch.manual_seed(0)
    with device:
        model = recipe.build(pipeline)
    model = model.to(device).requires_grad_(False)
    if recipe.selection == "adapter":
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False))
    model.eval()
    rows = batch or (recipe.gpu_batch if device.type == "cuda" else recipe.cpu_batch)
    latents, *conditioning = (torch.randn(rows, *shape, device=device) for shape in recipe.shapes)
    timesteps = torch.randint(0, 1000, (rows,), device=device)
    parameters = select_parameters(model, recipe.selection)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return Case(name, model, parameters, (latents, timesteps, *conditioning), recipe.width, autocast)
