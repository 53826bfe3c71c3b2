"""Adapters of LoRA, LoKr and LoHa whose layers are named as the original code of SDXL and FLUX names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from foreign_adapters import (
    loha,
    matrices,
    sd_scripts,
    written,
)
from torch import nn

from dmin.models.adapter_file import DENOISER, read_adapter
from dmin.models.adapter_layers import put_adapter
from dmin.models.published_adapter import complete_adapter
from dmin.runtime.errors import UserError


@dataclass
class Pipeline:
    """What conversion knows of a pipeline, of one network alone."""

    pipeline: Any
    denoiser: Any

    def text_encoder_of(self, part: str) -> Any:
        return None


def changes_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the change of every layer that an adapter makes."""
    found = {}
    for name, module in network.named_modules():
        if hasattr(module, "get_delta_weight"):
            (adapter,) = module.active_adapters
            found[name] = module.get_delta_weight(adapter).detach()
    return found


def require_equal_changes(file: Path, networks: Pipeline, out: Path, loaded: nn.Module) -> None:
    complete_adapter(file, None, out / "x.safetensors", networks)
    put_adapter(out / "x.safetensors", networks.denoiser, read_adapter(out / "x.safetensors")[DENOISER], "denoiser")
    found, expected = changes_of(networks.denoiser), changes_of(loaded)
    assert found.keys() == expected.keys() and found
    for name, change in expected.items():
        assert change.abs().max() > 1e-3 and (found[name] - change).abs().max() < 1e-5


def sdxl() -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=8,
        attention_head_dim=4,
        use_linear_projection=True,
    )


# As the original code of SDXL names them, and as diffusers does.
SDXL = {
    "input_blocks_4_1_transformer_blocks_0_attn1_to_q": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "input_blocks_8_1_transformer_blocks_1_ff_net_2": "down_blocks.2.attentions.1.transformer_blocks.1.ff.net.2",
    "input_blocks_4_0_in_layers_2": "down_blocks.1.resnets.0.conv1",
    "input_blocks_4_0_emb_layers_1": "down_blocks.1.resnets.0.time_emb_proj",
    "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
    "middle_block_1_proj_in": "mid_block.attentions.0.proj_in",
    "output_blocks_2_1_transformer_blocks_0_attn2_to_out_0": (
        "up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_out.0"
    ),
    "output_blocks_4_0_out_layers_3": "up_blocks.1.resnets.1.conv2",
    "output_blocks_3_0_skip_connection": "up_blocks.1.resnets.0.conv_shortcut",
}


def test_names_of_sdxl_act_as_in_diffusers(tmp_path: Path) -> None:
    network, loaded = sdxl(), sdxl()
    shapes = {old: tuple(network.get_submodule(new).weight.shape) for old, new in SDXL.items()}
    file = written(tmp_path / "sdxl.safetensors", sd_scripts(matrices(shapes), lambda _: 2.5))
    state, alphas = StableDiffusionXLPipeline.lora_state_dict(str(file), unet_config=loaded.config)
    StableDiffusionXLPipeline.load_lora_into_unet(state, alphas, loaded)
    require_equal_changes(file, Pipeline(StableDiffusionXLPipeline, network), tmp_path, loaded)


def test_lokr_under_names_of_sdxl_finds_its_layers(tmp_path: Path) -> None:
    network = sdxl()
    shapes = {old: tuple(network.get_submodule(new).weight.shape) for old, new in SDXL.items()}
    tensors, changes = loha(shapes)
    file = written(tmp_path / "loha.safetensors", tensors)
    complete_adapter(file, None, tmp_path / "out.safetensors", Pipeline(StableDiffusionXLPipeline, network))
    put_adapter(tmp_path, network, read_adapter(tmp_path / "out.safetensors")[DENOISER], "denoiser")
    for old, new in SDXL.items():
        found = network.get_submodule(new).get_delta_weight("default").reshape(changes[old].shape)
        assert (found - changes[old]).abs().max() < 1e-5


def flux() -> Any:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


FLUX: dict[str, tuple[int, ...]] = {
    "double_blocks_0_img_attn_qkv": (48, 16),
    "double_blocks_1_txt_attn_qkv": (48, 16),
    "double_blocks_1_img_mlp_0": (64, 16),
    "double_blocks_0_img_mod_lin": (96, 16),
    "single_blocks_0_linear2": (16, 80),
}


def test_layers_that_flux_fuses_act_as_in_diffusers(tmp_path: Path) -> None:
    network, loaded = flux(), flux()
    pairs = matrices(FLUX, lambda number: 3 + 3 * (number % 2))
    # In one layer each of the three has ranks of its own, which diffusers takes apart.
    name = "double_blocks_1_txt_attn_qkv"
    up = torch.block_diag(*pairs[name][1].split(16)[0][:, :6].reshape(3, 16, 2))
    pairs[name] = pairs[name][0], up
    alphas = [1.0, 12.0, 0.5, 6.0, None]
    file = written(tmp_path / "flux.safetensors", sd_scripts(pairs, lambda number: alphas[number]))
    FluxPipeline.load_lora_into_transformer(FluxPipeline.lora_state_dict(str(file)), None, loaded)
    require_equal_changes(file, Pipeline(FluxPipeline, network), tmp_path, loaded)
    # The parameters are the trainer's own: scales stay beside them.
    part = read_adapter(tmp_path / "x.safetensors")[DENOISER]
    whole = "transformer_blocks.0.attn.to_k"
    assert torch.equal(part.tensors[f"{whole}.lora_A.weight"], pairs["double_blocks_0_img_attn_qkv"][0])
    split = {f"transformer_blocks.1.attn.add_{x}_proj": pairs[name][0][2 * n : 2 * n + 2] for n, x in enumerate("qkv")}
    for layer, down in split.items():
        assert torch.equal(part.tensors[f"{layer}.lora_A.weight"], down)


def test_original_names_of_layers_that_are_fused_are_refused_for_other_kinds(tmp_path: Path) -> None:
    file = written(tmp_path / "flux.safetensors", loha({"double_blocks_0_img_attn_qkv": (48, 16)})[0])
    with pytest.raises(UserError, match="no layer of this base's denoiser under that name, and no LoRA that could be"):
        complete_adapter(file, None, tmp_path / "x.safetensors", Pipeline(FluxPipeline, flux()))
    assert not (tmp_path / "x.safetensors").exists()
