"""DoRA, LoKr and LoHa, and adapters named as original code names its layers: what they do, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from foreign_adapters import (
    Tensors,
    brought,
    diffusers_own,
    layers_of,
    matrices,
    merged,
    product,
    sd_scripts,
    written,
)
from gradient_oracle import check
from strange_adapters import answer, refused
from tiny_pipeline import CPU, random_samples
from torch import nn

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.selection import select_parameters
from dmin.models.adapter_file import DENOISER, read_adapter
from dmin.models.adapter_layers import put_adapter
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.published_adapter import complete_adapter
from dmin.runtime.errors import UserError

TARGETS = ("attn2.to_q", "attn1.to_out.0", "conv1", "proj_in")
Layers = dict[str, tuple[int, ...]]
Named = tuple[Tensors, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def layers(tiny_base: Mapping[str, Any]) -> Layers:
    return layers_of(load_family(tiny_base, CPU, ["denoiser"]).denoiser, TARGETS)


def weights_of(base: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    denoiser = load_family(base, CPU, ["denoiser"]).denoiser
    return {name: module.weight.detach() for name, module in denoiser.named_modules() if hasattr(module, "weight")}


def folded(layer: str) -> str:
    return f"lora_unet_{layer.replace('.', '_')}"


def loha(layers: Layers, alpha: float = 3.0, rank: int = 2) -> Named:
    """Return a LoHa as LyCORIS writes it, and the change of each layer by its formula."""
    generator = torch.Generator().manual_seed(5)
    tensors: Tensors = {}
    changes = {}
    for layer, (out, *into) in layers.items():
        width = torch.Size(into).numel()
        parts = [torch.randn(*shape, generator=generator) * 0.4 for shape in ((out, rank), (rank, width)) * 2]
        names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        tensors |= {f"{folded(layer)}.{name}": part for name, part in zip(names, parts, strict=True)}
        tensors[f"{folded(layer)}.alpha"] = torch.tensor(alpha)
        changes[layer] = alpha / rank * (parts[0] @ parts[1]) * (parts[2] @ parts[3])
    return tensors, changes


def lokr(layers: Layers, alpha: float = 3.0, rank: int = 2) -> Named:
    """Return a LoKr as LyCORIS writes it, its layers split in every way that it has, and the change of each layer."""
    generator = torch.Generator().manual_seed(6)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.4

    tensors: Tensors = {}
    changes = {}
    for number, (layer, (out, into, *kernel)) in enumerate(layers.items()):
        first, inner = [(2, 4), (4, 2), (8, 1)][number % 3]
        rows, columns, size = out // first, into // inner, torch.Size(kernel).numel()
        left, right = draw(first, rank), draw(rank, inner)
        up, down = draw(rows, rank), draw(rank, columns * size)
        given = {"lokr_w1_a": left, "lokr_w1_b": right} if number % 2 else {"lokr_w1": left @ right}
        whole = number % 4 == 0
        given |= (
            {"lokr_w2": (up @ down).reshape(rows, columns, *kernel)} if whole else {"lokr_w2_a": up, "lokr_w2_b": down}
        )
        tensors |= {f"{folded(layer)}.{name}": value for name, value in given.items()}
        tensors[f"{folded(layer)}.alpha"] = torch.tensor(alpha)
        scale = 1.0 if whole else alpha / rank
        ones = (left @ right).reshape(first, inner, *[1] * len(kernel))
        changes[layer] = scale * torch.kron(ones, (up @ down).reshape(rows, columns, *kernel))
    return tensors, changes


def dora(layers: Layers, weights: Mapping[str, torch.Tensor]) -> Named:
    """Return a DoRA as LyCORIS writes it, a magnitude for each output, and the change of each layer."""
    pairs = matrices(layers)
    tensors, changes = sd_scripts(pairs, lambda _: 6.0), {}
    for layer, pair in pairs.items():
        whole = weights[layer] + 6.0 / 4 * product(*pair)
        norm = whole.flatten(1).norm(dim=1)
        magnitude = norm * torch.linspace(0.7, 1.4, len(norm))
        shape = (-1, *[1] * (whole.ndim - 1))
        tensors[f"{folded(layer)}.dora_scale"] = magnitude.reshape(shape)
        changes[layer] = whole * (magnitude / norm).reshape(shape) - weights[layer]
    return tensors, changes


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora", "lora"])
def test_kind_acts_by_its_formula_and_its_gradients_are_those_of_autograd(
    tiny_base: Mapping[str, Any], tmp_path: Path, layers: Layers, kind: str
) -> None:
    pairs = matrices(layers)
    tensors, changes = {
        "loha": lambda: loha(layers),
        "lokr": lambda: lokr(layers),
        "dora": lambda: dora(layers, weights_of(tiny_base)),
        "lora": lambda: (sd_scripts(pairs), {name: 0.5 * product(*pair) for name, pair in pairs.items()}),
    }[kind]()
    family = brought(written(tmp_path / "x.safetensors", tensors), tiny_base, tmp_path / "out")
    assert (answer(family.denoiser) - merged(tiny_base, changes)).abs().max() < 1e-5
    assert (answer(family.denoiser) - merged(tiny_base, {})).abs().max() > 1e-2
    own = select_parameters(family.denoiser, "adapter")
    without = {name for name in tensors if not name.endswith(".alpha")}
    assert len(own) == len(without)
    assert sum(value.numel() for value in own.values()) == sum(tensors[name].numel() for name in without)
    require_gradients(family, {"lora": {"linear", "conv"}}.get(kind, {"autograd"}))


def require_gradients(family: Family, paths: set[str]) -> None:
    """Check the gradients of every sample in the adapter's own parameters against autograd, in single precision."""
    samples = random_samples(3)
    conditioning = dict(samples.conditioning)
    noise, timesteps = torch.randn(samples.latents.shape, generator=torch.Generator().manual_seed(2)), [900, 500, 100]

    def losses(_: nn.Module) -> torch.Tensor:
        return family.objective(samples.latents, noise, torch.tensor(timesteps), conditioning)

    check(family.denoiser, losses, 3, tolerance=1e-5, selection="adapter")
    engine = PerSampleGradients(family.denoiser, select_parameters(family.denoiser, "adapter"))
    assert {row.path for row in engine.coverage} == paths


def test_dora_of_diffusers_acts_as_in_diffusers(tiny_base: Mapping[str, Any], tmp_path: Path, layers: Layers) -> None:
    attention = {name: shape for name, shape in layers.items() if len(shape) == 2}
    tensors, _ = dora(attention, weights_of(tiny_base))
    named: Tensors = {}
    for layer in attention:
        named[f"unet.{layer}.lora_A.weight"] = tensors[f"{folded(layer)}.lora_down.weight"]
        named[f"unet.{layer}.lora_B.weight"] = tensors[f"{folded(layer)}.lora_up.weight"]
        named[f"unet.{layer}.lora_magnitude_vector"] = tensors[f"{folded(layer)}.dora_scale"].flatten()
    file = written(tmp_path / "dora.safetensors", named)
    found = answer(brought(file, tiny_base, tmp_path / "out", alpha=4).denoiser)
    assert (found - answer(diffusers_own(file, tiny_base, StableDiffusionPipeline).unet)).abs().max() < 1e-5


def test_lokr_of_diffusers_acts_as_in_diffusers(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    denoiser = load_family(tiny_base, CPU, ["denoiser"]).denoiser
    generator = torch.Generator().manual_seed(8)
    tensors: Tensors = {}
    for layer in layers_of(denoiser, ["attn1.to_q"]):
        tensors[f"unet.{layer}.lokr_w1"] = torch.randn(4, 4, generator=generator)
        tensors[f"unet.{layer}.lokr_w2"] = torch.randn(8, 8, generator=generator) * 0.2
    file = written(tmp_path / "lokr.safetensors", tensors)
    found = answer(brought(file, tiny_base, tmp_path / "out").denoiser)
    denoiser.load_lora_adapter(dict(tensors), prefix="unet")
    assert (found - answer(denoiser)).abs().max() < 1e-5
    assert (found - merged(tiny_base, {})).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: {k: v for k, v in tensors.items() if "w2_b" not in k}, "are not the factors of a layer"),
        (lambda tensors: {k: v[:0] if "w1_b" in k else v for k, v in tensors.items()}, "are not the factors of a"),
        (lambda tensors: {k: v[:, :-1] if "w1_b" in k else v for k, v in tensors.items()}, "cannot be loaded"),
        (lambda tensors: {k: v * torch.nan if "w1_a" in k else v for k, v in tensors.items()}, "are not finite"),
        (lambda tensors: {k: -v if "alpha" in k else v for k, v in tensors.items()}, "which must be finite and"),
        (
            lambda tensors: {k: torch.ones(3) if "alpha" in k else v for k, v in tensors.items()},
            "says .*alpha nan, which must be finite",
        ),
    ],
)  # fmt: skip
def test_factors_that_do_not_fit_are_refused(
    tiny_base: Mapping[str, Any],
    tmp_path: Path,
    layers: Layers,
    change: Callable[[Tensors], Tensors],
    sentence: str,
) -> None:
    file = written(tmp_path / "x.safetensors", change(loha(layers)[0]))
    refused(file, tiny_base, tmp_path, sentence)


@pytest.mark.attack(
    "adapter", "DoRA's magnitudes for each input, which PEFT would take for those of outputs", "refused"
)
def test_magnitudes_of_inputs_are_refused(tiny_base: Mapping[str, Any], tmp_path: Path, layers: Layers) -> None:
    pairs = matrices({name: shape for name, shape in layers.items() if len(shape) == 2})
    scales = {f"{folded(name)}.dora_scale": torch.ones(1, down.shape[1]) for name, (down, _) in pairs.items()}
    refused(written(tmp_path / "x.safetensors", sd_scripts(pairs) | scales), tiny_base, tmp_path, "magnitudes of shape")


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
