"""The stable_diffusion family: encoders, objective, sampling, and the adapter on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU, LATENT, LORA, PROMPT_LENGTH, SIZE, TEXT_WIDTH, build_adapter, random_samples
from torch import Tensor, nn

from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError

TIMESTEPS = torch.tensor([999, 400, 0])


class _Answer(nn.Module):
    """A denoiser that returns a fixed tensor and remembers its input."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, noisy: Tensor, timesteps: Tensor, prompts: Tensor) -> Any:
        self.noisy = noisy
        return type("Output", (), {"sample": self.answer})


def _signal_and_noise() -> tuple[Tensor, Tensor]:
    """Return sqrt(abar) and sqrt(1 - abar) at TIMESTEPS from Stable Diffusion's published schedule."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)[TIMESTEPS].float().view(-1, 1, 1, 1)
    return kept.sqrt(), (1 - kept).sqrt()


def _with_prediction(base: Mapping[str, Any], kind: str, folder: Path) -> dict[str, Any]:
    shutil.copytree(base["path"], folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": kind}))
    return {**base, "path": str(folder)}


def _rows(family: Family, latents: Tensor, noise: Tensor) -> Tensor:
    return family.objective(latents, noise, TIMESTEPS, {"prompt_embeds": torch.zeros(len(latents), 1, TEXT_WIDTH)})


@pytest.fixture(scope="module")
def family(tiny_base: Mapping[str, Any]) -> Family:
    return load_family(tiny_base, CPU, ["encoders", "denoiser"])


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn((2, 3, *LATENT), generator=generator)
    return latents, noise


def test_images_are_encoded_to_the_scaled_mode(family: Any) -> None:
    image = torch.rand((1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = torch.cat([image, -image, image])
    torch.manual_seed(1)
    latents = family.encode_images(pixels)
    torch.manual_seed(2)
    assert torch.equal(family.encode_images(pixels), latents)
    assert latents.shape == (3, *LATENT) == (3, *family.latent_shape(SIZE))
    assert torch.equal(latents[0], latents[2]) and not torch.equal(latents[0], latents[1])
    mean = family.vae.encode(pixels).latent_dist.mean
    assert torch.allclose(latents, 0.7 * mean)


def test_loaded_parts_are_frozen_single_precision(family: Any) -> None:
    for module in (family.vae, family.text_encoder, family.denoiser):
        assert not module.training
        assert {value.dtype for value in module.parameters()} == {torch.float32}
        assert not any(value.requires_grad for value in module.parameters())


def test_long_prompts_are_cut(family: Family) -> None:
    start = "a red flag " * 10
    prompts = [start, start + "a blue brick", "a blue brick " + start, ""]
    embeddings = family.encode_prompts(prompts)["prompt_embeds"]
    assert embeddings.shape == (4, PROMPT_LENGTH, TEXT_WIDTH)
    assert torch.equal(embeddings[0], embeddings[1])
    assert not torch.allclose(embeddings[0], embeddings[2])
    assert torch.isfinite(embeddings).all()


def test_objective_is_the_mean_squared_error_of_each_row(family: Any, pair: tuple[Tensor, Tensor]) -> None:
    latents, noise = pair
    conditioning = {"prompt_embeds": random_samples(3).conditioning["prompt_embeds"]}
    with torch.no_grad():
        losses = family.objective(latents, noise, TIMESTEPS, conditioning)
        signal, share = _signal_and_noise()
        prediction = family.denoiser(signal * latents + share * noise, TIMESTEPS, conditioning["prompt_embeds"]).sample
    expected = ((prediction - noise) ** 2).mean((1, 2, 3))
    assert losses.shape == (3,) and losses.dtype == torch.float32
    assert torch.allclose(losses, expected, rtol=1e-5)


def test_rows_of_the_objective_do_not_meet(family: Family, pair: tuple[Tensor, Tensor]) -> None:
    latents, noise = pair
    prompts = random_samples(3).conditioning["prompt_embeds"]
    with torch.no_grad():
        together = family.objective(latents, noise, TIMESTEPS, {"prompt_embeds": prompts})
        for row in range(3):
            one = slice(row, row + 1)
            alone = family.objective(latents[one], noise[one], TIMESTEPS[one], {"prompt_embeds": prompts[one]})
            assert torch.allclose(alone, together[one], rtol=1e-5)


def test_epsilon_target_is_the_noise(tiny_base: Mapping[str, Any], pair: tuple[Tensor, Tensor]) -> None:
    latents, noise = pair
    family = load_family(tiny_base, CPU, [])
    family.denoiser = _Answer(noise)
    assert torch.equal(_rows(family, latents, noise), torch.zeros(3))
    family.denoiser = _Answer(noise + torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1, 1))
    assert torch.allclose(_rows(family, latents, noise), torch.tensor([1.0, 4.0, 9.0]), rtol=1e-5)
    signal, share = _signal_and_noise()
    assert torch.allclose(family.denoiser.noisy, signal * latents + share * noise, atol=1e-5)


def test_output_norm_is_the_error_against_zero(tiny_base: Mapping[str, Any], pair: tuple[Tensor, Tensor]) -> None:
    latents, noise = pair
    family = load_family(tiny_base, CPU, [])
    family.denoiser = _Answer(torch.tensor([0.0, 1.0, -3.0]).view(-1, 1, 1, 1).expand(-1, *LATENT))
    given = (TIMESTEPS, {"prompt_embeds": torch.zeros(3, 1, TEXT_WIDTH)})
    # The mean over elements, whatever the target is.
    for target in (noise, -noise):
        assert torch.equal(family.output_norm(latents, target, *given), torch.tensor([0.0, 1.0, 9.0]))
    signal, share = _signal_and_noise()
    assert torch.allclose(family.denoiser.noisy, signal * latents - share * noise, atol=1e-5)


def test_recording_leaves_the_images(tiny_base: Mapping[str, Any]) -> None:
    family = load_family(tiny_base, CPU, ["encoders", "denoiser"])
    noise = torch.randn((2, *LATENT), generator=torch.Generator().manual_seed(0))
    prompts, empty = family.encode_prompts(["a red flag", "a blue brick"]), family.encode_prompts([""])
    steps: list[tuple[int, Tensor]] = []
    recorded = family.sample(prompts, empty, noise, {"steps": 3, "guidance": 2.0}, lambda *step: steps.append(step))
    np.testing.assert_array_equal(recorded, family.sample(prompts, empty, noise, {"steps": 3, "guidance": 2.0}))
    assert len(steps) == 3 and all(clean.shape == (2, *LATENT) for _, clean in steps)
    assert [timestep for timestep, _ in steps] == sorted({timestep for timestep, _ in steps}, reverse=True)


def test_velocity_target(tiny_base: Mapping[str, Any], pair: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    latents, noise = pair
    family = load_family(_with_prediction(tiny_base, "v_prediction", tmp_path / "base"), CPU, [])
    signal, share = _signal_and_noise()
    family.denoiser = _Answer(signal * noise - share * latents)
    assert _rows(family, latents, noise).max() < 1e-9
    family.denoiser = _Answer(noise)
    assert _rows(family, latents, noise).min() > 1e-6


def test_unsupported_bases_are_refused(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has prediction_type 'sample'; epsilon and v_prediction are supported"):
        load_family(_with_prediction(tiny_base, "sample", tmp_path / "base"), CPU, [])
    with pytest.raises(UserError, match=r"family 'pixel_art' is unknown; choose one of .*stable_diffusion"):
        load_family({**tiny_base, "family": "pixel_art"}, CPU, [])


def test_missing_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    with pytest.raises(UserError, match="no GPU is usable"):
        resolve_device("cuda")


def test_adapter_round_trip_keeps_the_output_and_its_scale(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    samples = random_samples(3)
    inputs = (samples.latents, TIMESTEPS, samples.conditioning["prompt_embeds"])
    trained = load_family(tiny_base, CPU, ["denoiser"])
    with torch.no_grad():
        plain = trained.denoiser(*inputs).sample
        trained.add_adapter(LORA)
        untrained = trained.denoiser(*inputs).sample
        generator = torch.Generator().manual_seed(1)
        for name, value in trained.denoiser.named_parameters():
            if "lora_" in name:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
        before = trained.denoiser(*inputs).sample
        trained.save_adapter(tmp_path)
        loaded = load_family(tiny_base, CPU, ["denoiser"])
        loaded.load_adapter(tmp_path)
        after = loaded.denoiser(*inputs).sample
    assert torch.allclose(untrained, plain, atol=1e-6)
    # The adapter must weigh in, or a lost scale would not show.
    assert (before - plain).abs().max() > 1e-2
    assert (after - before).abs().max() <= 1e-6
    scales = {scale for module in loaded.denoiser.modules() for scale in getattr(module, "scaling", {}).values()}
    assert scales == {LORA["alpha"] / LORA["rank"]}
    assert not any(value.requires_grad for value in loaded.denoiser.parameters())


def test_adapter_file_does_not_depend_on_hash_order(tiny_adapter: Path) -> None:
    with safe_open(tiny_adapter, framework="pt") as file:
        settings = json.loads(file.metadata()["lora_adapter_metadata"])
    # peft keeps the targets in a set, whose order would change the file's digest from process to process.
    assert settings["target_modules"] == sorted(LORA["targets"])
    assert (settings["r"], settings["lora_alpha"]) == (LORA["rank"], LORA["alpha"])


@pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters:RuntimeWarning")
def test_adapters_that_do_not_fit_are_refused(tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_adapter)
    renamed = {name.replace("to_q", "to_x"): value for name, value in weights.items()}
    halved = dict(list(weights.items())[1:])
    wider = {name: value.repeat(1, 2) if "lora_A" in name else value for name, value in weights.items()}
    with safe_open(tiny_adapter, framework="pt") as file:
        metadata = file.metadata()
    cases = {
        "renamed": "to_x",
        "halved": "differ in '.*lora_A",
        "wider": r"lora_A.*is \[4, 64\] and the layer's width 32",
    }
    for (case, sentence), tensors in zip(cases.items(), (renamed, halved, wider), strict=True):
        (tmp_path / case).mkdir()
        save_file(tensors, tmp_path / case / tiny_adapter.name, metadata=metadata)
        with pytest.raises(UserError, match=rf"Adapter '.*{case}/.*{sentence}.*train it on this base"):
            load_family(tiny_base, CPU, ["denoiser"]).load_adapter(tmp_path / case)


@pytest.mark.parametrize("keep", [0, 100, -1, None])
def test_torn_and_missing_adapters_are_named(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path, keep: int | None
) -> None:
    if keep is not None:
        (tmp_path / tiny_adapter.name).write_bytes(tiny_adapter.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"Adapter '.*safetensors' cannot be loaded"):
        load_family(tiny_base, CPU, ["denoiser"]).load_adapter(tmp_path)


def test_unknown_target_is_named(tiny_base: Mapping[str, Any]) -> None:
    family = load_family(tiny_base, CPU, ["denoiser"])
    with pytest.raises(UserError, match=r"lora\.targets names 'to_z', which the denoiser does not have"):
        family.add_adapter({**LORA, "targets": ["to_q", "to_z"]})


def test_images_do_not_depend_on_their_batch(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    family = load_family(tiny_base, CPU, ["encoders", "denoiser"])
    family.load_adapter(build_adapter(tiny_base, tmp_path).parent)
    noise = torch.stack([torch.randn(LATENT, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8, 9)])
    prompts, empty = family.encode_prompts(["a red flag", "a blue brick", "a"]), family.encode_prompts([""])
    settings = {"steps": 3, "guidance": 4.0}
    together = family.sample(prompts, empty, noise, settings)
    assert together.shape == (3, SIZE, SIZE, 3) and together.dtype == np.uint8
    assert len({image.tobytes() for image in together}) == 3
    for row in range(3):
        one = slice(row, row + 1)
        alone = family.sample({"prompt_embeds": prompts["prompt_embeds"][one]}, empty, noise[one], settings)
        # Sums in another order may tip a rounding, so one grey level is allowed.
        assert np.abs(alone[0].astype(int) - together[row].astype(int)).max() <= 1


def test_guidance_of_one_ignores_the_empty_prompt(family: Family) -> None:
    noise = torch.randn((1, *LATENT), generator=torch.Generator().manual_seed(7))
    prompt, empty = family.encode_prompts(["a red flag"]), family.encode_prompts([""])
    other = {"prompt_embeds": empty["prompt_embeds"] + 1}
    settings = {"steps": 3, "guidance": 1.0}
    left, right = (family.sample(prompt, nothing, noise, settings).astype(int) for nothing in (empty, other))
    assert np.abs(left - right).max() <= 1
