"""DoRA, LoKr and LoHa, and adapters named as original code names its layers: what they do, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
)
from foreign_adapters import (
    Layers,
    Named,
    Tensors,
    brought,
    diffusers_own,
    folded,
    layers_of,
    loha,
    matrices,
    merged,
    product,
    sd_scripts,
    written,
)
from gradient_oracle import check
from safetensors.torch import load_file
from strange_adapters import answer, refused
from tiny_pipeline import CPU, random_samples
from tiny_training import ADAPTER, train_adapter
from tiny_transformers import build_flux
from torch import nn

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.selection import select_parameters
from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.families.family import Family
from dmin.models.load import load_family

TARGETS = ("attn2.to_q", "attn1.to_out.0", "conv1", "proj_in")


@pytest.fixture(scope="module")
def layers(tiny_base: Mapping[str, Any]) -> Layers:
    return layers_of(load_family(tiny_base, CPU, ["denoiser"]).denoiser, TARGETS)


def weights_of(base: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    denoiser = load_family(base, CPU, ["denoiser"]).denoiser
    return {name: module.weight.detach() for name, module in denoiser.named_modules() if hasattr(module, "weight")}


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


@pytest.mark.parametrize("kind", ["lora", "loha"])
def test_layer_whose_name_others_end_with_is_changed_alone(tmp_path: Path, kind: str) -> None:
    base = build_flux(tmp_path / "flux")
    denoiser = load_family(base, CPU, ["denoiser"]).denoiser
    wanted = {"proj_out", "transformer_blocks.0.attn.to_q"}
    shapes = {name: shape for name, shape in layers_of(denoiser, [*wanted]).items() if name in wanted}
    assert "single_transformer_blocks.0.proj_out" in layers_of(denoiser, ["proj_out"])
    tensors = loha(shapes)[0] if kind == "loha" else sd_scripts(matrices(shapes))
    family = brought(written(tmp_path / "x.safetensors", tensors), base, tmp_path / "out")
    changed = {name for name, module in family.denoiser.named_modules() if hasattr(module, "get_delta_weight")}
    assert changed == wanted


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


@pytest.mark.parametrize("kind", [loha, lokr])
def test_training_goes_on_with_loha_and_lokr(
    kind: Callable[[Layers], Named], layers: Layers, tiny_base: Mapping[str, Any], tmp_path: Path
) -> None:
    given = brought(written(tmp_path / "x.safetensors", kind(layers)[0]), tiny_base, tmp_path / "own")
    random_samples(8).save(tmp_path / "samples.safetensors")
    start = tmp_path / "own" / ADAPTER_FILE
    for rate in (0.0, 0.01):
        model = {
            **ADAPTER,
            "train": {**ADAPTER["train"], "learning_rate": rate, "weight_decay": 0.0, "checkpoints": []},
        }
        out = tmp_path / str(rate)
        train_adapter(tiny_base, tmp_path / "samples.safetensors", out, model, start)
        trained = load_family(tiny_base, CPU, ["denoiser"])
        trained.load_adapter(out)
        # Written and read again it is what it was, and all of it is trained.
        gone = (answer(trained.denoiser) - answer(given.denoiser)).abs().max()
        assert gone < 1e-5 if rate == 0 else gone > 1e-3
        tensors, before = load_file(out / ADAPTER_FILE), load_file(start)
        assert tensors.keys() == before.keys()
        changed = [name for name in before if not torch.equal(tensors[name], before[name])]
        assert len(changed) == (0 if rate == 0 else len(before))


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
