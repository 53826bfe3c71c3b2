"""Pruning: what is removed, what is left, and files of networks with other shapes than their config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from tiny_families import build_ddpm

from dmin.games.pruning import prune_channels, prune_ranks
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.runtime.errors import UserError

ARCHITECTURES = Path(__file__).parents[2] / "resources" / "architectures"
DEVICE = torch.device("cpu")


def tiny(folder: Path, weights: bool = True) -> Family:
    return load_family(build_ddpm(folder, weights=weights), DEVICE, ["denoiser"])


def pruned(family: Family, ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Prune a family, and return a batch of its inputs."""
    inputs = torch.randn(2, *family.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 900])
    prune_channels(family.denoiser, (inputs[0][:1], inputs[1][:1]), ratio)
    return inputs


def test_published_network_has_the_published_size() -> None:
    # Diff-Pruning reports 35.7 M and 19.8 M parameters for the same ratio.
    network = UNet2DModel.from_config(UNet2DModel.load_config(ARCHITECTURES / "ddpm_cifar10" / "unet"))
    assert sum(value.numel() for value in network.parameters()) == 35_746_307
    prune_channels(network, (torch.zeros(1, 3, 32, 32), torch.ones(1, dtype=torch.long)), 0.3)
    assert sum(value.numel() for value in network.parameters()) == 19_851_157
    assert network.conv_in.out_channels == 96 and network.mid_block.resnets[0].conv1.out_channels == 192


def test_groups_lose_as_many_and_attention_whole_heads(tmp_path: Path) -> None:
    family = tiny(tmp_path / "base")
    before = family.denoiser.mid_block.attentions[0].heads
    inputs = pruned(family, 0.4)
    attention = family.denoiser.mid_block.attentions[0]
    assert before == 4 and attention.heads == 2 and attention.to_q.out_features == 8
    norms = [module for module in family.denoiser.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {4} and all(norm.num_channels % 4 == 0 for norm in norms)
    assert family.denoise(*inputs, {}).shape == inputs[0].shape


def test_least_channels_go(tmp_path: Path) -> None:
    family = tiny(tmp_path / "base")
    with torch.no_grad():
        # Of two channels in each group of the first block, the second is all but silent wherever it stands.
        network = family.denoiser
        for name, value in network.named_parameters():
            if name.startswith(("conv_in", "down_blocks.0.resnets.0.conv1", "down_blocks.0.resnets.0.conv2")):
                value[1::2] *= 1e-3
        kept = network.conv_in.weight[0::2].clone()
    pruned(family, 0.4)
    assert torch.equal(network.conv_in.weight, kept)


@pytest.mark.fault("A ratio of pruning leaves no channel of a layer", "refused; the layer is named")
def test_ratio_that_empties_a_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pruning.ratio 0.9 leaves no channel of layer '.+'.*; lower it"):
        pruned(tiny(tmp_path / "base"), 0.9)
    with pytest.raises(UserError, match="leaves nothing of an adapter of rank 2"):
        prune_ranks({"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(4, 2)}, 0.9)


def test_least_ranks_go_and_the_scale_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 6, generator=generator), torch.randn(5, 4, generator=generator)
    down[2], up[:, 2] = down[2] * 1e-3, up[:, 2] * 1e-3
    left = prune_ranks({"x.lora_A.weight": down, "x.lora_B.weight": up}, 0.25)
    rest = [0, 1, 3]
    assert torch.equal(left["x.lora_A.weight"], down[rest])
    # The scale alpha / rank of the smaller adapter is larger by 4 / 3.
    assert torch.allclose(left["x.lora_B.weight"] @ left["x.lora_A.weight"] * 4 / 3, up[:, rest] @ down[rest])


def test_pruned_pipeline_is_read_as_it_was_written(tmp_path: Path) -> None:
    family = tiny(tmp_path / "base")
    inputs = pruned(family, 0.4)
    expected = family.denoise(*inputs, {})
    family.save_pipeline(tmp_path / "pruned")
    assert {path.suffix for path in (tmp_path / "pruned").rglob("*.*")} == {".json", ".safetensors"}, "no pickle"
    again = load_family({"family": "ddpm", "path": str(tmp_path / "pruned"), "revision": None}, DEVICE, ["denoiser"])
    assert torch.equal(again.denoise(*inputs, {}), expected)
    again.initialise_denoiser(7)
    fresh = again.denoise(*inputs, {})
    assert fresh.shape == expected.shape and not torch.allclose(fresh, expected)
    whole = tiny(tmp_path / "other")
    whole.save_pipeline(tmp_path / "whole")
    assert not (tmp_path / "whole" / "unet" / "shapes.json").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda given: given["shapes"].pop("conv_in.weight"), "lists the tensor 'conv_in.weight'"),
        (lambda given: given["shapes"].update({"conv_in.weight": [-1, 3, 3, 3]}), "a size is no positive number"),
        (lambda given: given["shapes"].update({"conv_in.weight": [5, 3, 3, 3]}), "does not fit|do not fit"),
        (lambda given: given.pop("attributes"), "torn or foreign"),
        (lambda given: given["attributes"].update({"": {"forward": "os.system"}}), "no positive number"),
    ],
)
@pytest.mark.attack("model", "a shape manifest of another network, or one that sets what it must not", "refused")
def test_foreign_shapes_are_refused(tmp_path: Path, change: object, sentence: str) -> None:
    family = tiny(tmp_path / "base")
    pruned(family, 0.4)
    family.save_pipeline(tmp_path / "pruned")
    file = tmp_path / "pruned" / "unet" / "shapes.json"
    given = json.loads(file.read_text())
    change(given)  # type: ignore[operator]
    file.write_text(json.dumps(given))
    with pytest.raises(UserError, match=sentence):
        load_family({"family": "ddpm", "path": str(tmp_path / "pruned"), "revision": None}, DEVICE, ["denoiser"])
