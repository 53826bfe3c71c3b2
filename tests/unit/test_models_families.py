"""Families after Stable Diffusion 1: each as the pipeline of diffusers does it, from files to gradients and images."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pandas as pd
import pytest
import torch
from gradient_oracle import check
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file
from tiny_families import PROMPTS, SIZE, build_sd3
from tiny_pipeline import LORA, build_adapter, gradient_config, make_shard
from tiny_training import train_adapter
from tiny_transformers import build_flux, build_flux2, build_qwen_image, build_sdxl, build_z_image

from dmin.catalogue.families import FAMILIES
from dmin.data.images import encode_png
from dmin.data.samples import sample_pixels, write_samples
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.curvature import KroneckerCurvature
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.pilot_curvature import pilot_curvature
from dmin.gradients.selection import select_parameters
from dmin.gradients.shard import Shard
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.queries.generate import generate_images
from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.runtime.pace import Pace

CPU = torch.device("cpu")
PARTS = ["encoders", "denoiser"]
BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "sd35": lambda folder: build_sd3(folder, t5=True, qk_norm="rms_norm", dual_attention_layers=(0,)),
    "sdxl": build_sdxl,
    "sdxl_v": lambda folder: build_sdxl(folder, "v_prediction"),
    "flux": build_flux,
    "schnell": lambda folder: build_flux(folder, guidance=False),
    "z_image": build_z_image,
    "flux2": build_flux2,
    "flux2_base": lambda folder: build_flux2(folder, distilled=False),
    "qwen_image": build_qwen_image,
}
# What the pipelines of diffusers take for guidance 3, where that is not what they call so.
CALLS: dict[str, dict[str, Any]] = {
    "z_image": {"guidance_scale": 2.0},
    "qwen_image": {"true_cfg_scale": 3.0, "negative_prompt": ["", ""]},
}


@pytest.fixture(scope="module", params=list(BUILDERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny pipeline of each family; its key ``built`` names it."""
    return {**BUILDERS[request.param](tmp_path_factory.mktemp(request.param)), "built": request.param}


@pytest.fixture(scope="module")
def family(base: dict[str, Any]) -> Family:
    return load_family(base, CPU, PARTS)


@pytest.fixture(scope="module")
def encoded(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images with prompts, encoded."""
    folder = tmp_path_factory.mktemp("encoded")
    pixels = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE, 3), dtype=np.uint8)
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    table = {"id": [f"a/{row}" for row in range(5)], "prompt": [PROMPTS[row % 3] for row in range(5)], "image": images}
    write_samples(pd.DataFrame(table), folder / "train.parquet")
    encode_samples(folder / "train.parquet", base, folder / "train.safetensors", Pace("cpu", 2))
    return folder / "train.safetensors"


def _inputs(family: Family, count: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    shape = (2, count, *family.latent_shape(SIZE))
    latents, noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return latents, noise, family.encode_prompts(PROMPTS[:count])


# Two squares side by side, as a wide image of a bucket is.
@pytest.mark.parametrize("width", [SIZE, 2 * SIZE])
def test_images_are_those_of_the_pipeline(width: int, base: dict[str, Any], family: Any) -> None:
    pipeline = family.pipeline.from_pretrained(base["path"], torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if base["family"] == "stable_diffusion_xl":
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    channels, height, side = family.latent_shape(SIZE)
    noise = torch.randn((2, channels, height, side * width // SIZE), generator=torch.Generator().manual_seed(1))
    recorded: list[int] = []
    settings = {"steps": 3, "guidance": 3.0}
    conditioning, nothing = family.encode_prompts(PROMPTS[:2]), family.encode_nothing()
    images = family.sample(conditioning, nothing, noise, settings, lambda time, _: recorded.append(time))
    given = CALLS.get(base["built"], {"guidance_scale": 3.0})
    packed = _packed(noise) if base["family"] in ("flux", "qwen_image") else noise
    found = pipeline(
        prompt=PROMPTS[:2], height=SIZE, width=width, num_inference_steps=3, latents=packed, output_type="np", **given
    )
    assert np.abs(images.astype(float) - 255 * found.images).max() <= 1
    assert images.shape == (2, SIZE, width, 3) and images.std() > 5
    assert family.encode_images(torch.zeros(1, 3, SIZE, width)).shape[1:] == noise.shape[1:]
    assert len(recorded) == 3 and recorded == sorted(recorded, reverse=True)


def _packed(noise: torch.Tensor) -> torch.Tensor:
    """Pack noise as the pipeline of FLUX does."""
    return diffusers.FluxPipeline._pack_latents(noise, *noise.shape)


def test_gradients_are_those_of_autograd_and_of_each_sample_alone(base: dict[str, Any], tmp_path: Path) -> None:
    adapter = build_adapter(base, tmp_path)
    family = load_trained(TrainedModel(base, adapter), CPU, PARTS)
    latents, noise, conditioning = _inputs(family, 3)
    timesteps = torch.tensor([0, 400, 999])
    check(
        family.denoiser,
        lambda _: family.objective(latents, noise, timesteps, conditioning),
        3,
        tolerance=1e-4,
        selection="adapter",
    )
    together = family.objective(latents, noise, timesteps, conditioning)
    for row in range(3):
        own = {name: value[row : row + 1] for name, value in conditioning.items()}
        part = slice(row, row + 1)
        alone = family.objective(latents[part], noise[part], timesteps[part], own)
        assert torch.allclose(alone, together[part], rtol=1e-4)


def test_curvature_has_bases_of_every_adapted_layer(base: dict[str, Any], encoded: Path, tmp_path: Path) -> None:
    config = gradient_config(keep_raw=False, curvature={"pilot": 2, "widest": 2048}, cache_dim=256)
    model, out = TrainedModel(base, build_adapter(base, tmp_path)), tmp_path / "loss.safetensors"
    pilot_curvature(encoded, model, config, {"quantity": "loss", "draws": 1}, Pace("cpu", 6), out)
    fitted = KroneckerCurvature.load(out, 0.1)
    assert {len(tensor.basis.tensors()) for tensor in fitted.tensors.values()} == {2}
    kind = CacheKind("loss_ekfac", {"quantity": "loss", "draws": 1, "damping": 0.1}, curvature=out)
    shard = tmp_path / "0.safetensors"
    cache_gradients(ShardTask(encoded, 0, 2, shard, tmp_path / "0.json"), model, config, kind, Pace("cpu", 6))
    assert np.isfinite(Shard(shard).read("norm")).all()


def test_loss_is_that_of_diffusers(base: dict[str, Any], family: Any) -> None:
    latents, noise, conditioning = _inputs(family, 3)
    timesteps = torch.tensor([0, 400, 999])
    with torch.no_grad():
        found = family.objective(latents, noise, timesteps, conditioning)
        output = family.denoise(*family.target.noised(latents, noise, timesteps), conditioning)
    schedule = family.target.scheduler
    if base["built"] == "sdxl":
        target = noise
    elif base["built"] == "sdxl_v":
        target = schedule.get_velocity(latents, noise, timesteps)
    elif base["built"] == "sd35":
        share = (timesteps + 1) / 1000
        assert torch.allclose(schedule.sigmas[999 - timesteps], 3 * share / (1 + 2 * share))
        target = noise - latents
    else:
        # Training leaves the shift by image size out: sigma is the share of the 1,000 steps.
        share = (timesteps + 1) / 1000
        shift = 1 if schedule.config.use_dynamic_shifting else schedule.config.shift
        assert torch.allclose(schedule.sigmas[999 - timesteps], shift * share / (1 + (shift - 1) * share))
        target = noise - latents
    assert torch.allclose(found, (output - target).square().mean((1, 2, 3)), rtol=1e-5)


def test_chain_from_images_to_cached_gradients(base: dict[str, Any], encoded: Path, tmp_path: Path) -> None:
    train_adapter(base, encoded, tmp_path / "model")
    weights = tmp_path / "model" / "pytorch_lora_weights.safetensors"
    stored = load_file(weights)
    assert max(value.abs().max() for name, value in stored.items() if "lora_B" in name) > 0
    shard = make_shard(tmp_path / "cache", base, weights, encoded, gradient_config(cache_dim=256))
    trained = sum(value.numel() for value in stored.values())
    assert shard.metadata["P"] == trained
    raw = np.asarray(shard.read("raw")).astype(np.float32)
    assert raw.shape == (5, 3, trained) and np.allclose(np.linalg.norm(raw, axis=-1), 1, atol=1e-2)
    samples = EncodedSamples.load(encoded)
    family = load_family(base, CPU, ["text"])
    for name, value in family.encode_nothing().items():
        assert torch.equal(samples.unconditional[name], value)


def test_entry_names_what_the_class_loads(base: dict[str, Any], family: Any) -> None:
    entry = FAMILIES[base["family"]]
    assert entry.pipelines[0] == family.pipeline.__name__
    assert set(LORA["targets"]) <= {name.split(".")[-1] for name, _ in family.denoiser.named_modules()} | {"to_out.0"}


def test_plan_counts_what_the_loaded_model_holds(base: dict[str, Any], family: Any, tmp_path: Path) -> None:
    architecture = read_architecture("tiny", base, tmp_path)
    assert architecture.latent_shape(SIZE) == family.latent_shape(SIZE)
    planned = MetaDenoiser(architecture, LORA, "adapter")
    loaded = load_trained(TrainedModel(base, build_adapter(base, tmp_path)), CPU, ["denoiser"])
    assert planned.attributed == sum(value.numel() for value in select_parameters(loaded.denoiser, "adapter").values())
    assert planned.total == sum(value.numel() for value in loaded.denoiser.parameters())
    assert planned.saved_bytes(SIZE) > 0
    encoded = family.encode_prompts(PROMPTS[:1])
    shapes = family.prompt_shapes(8)
    assert shapes.keys() == encoded.keys()
    # CLIP of SD3 is stored as wide as it is, and planned as wide as it is filled up.
    fits = base["built"] == "sd35" or {name: (1, *shape) for name, shape in shapes.items()} == {
        name: tuple(value.shape) for name, value in encoded.items()
    }
    assert fits


def test_half_weights_change_little_and_adapters_stay_whole(base: dict[str, Any], family: Any, tmp_path: Path) -> None:
    weights = build_adapter(base, tmp_path)
    half = load_trained(TrainedModel({**base, "precision": "bfloat16"}, weights), CPU, PARTS)
    whole = load_trained(TrainedModel(base, weights), CPU, PARTS)
    adapters = [dict(get_peft_model_state_dict(loaded.denoiser)) for loaded in (half, whole)]
    assert all(torch.equal(value, adapters[1][name]) for name, value in adapters[0].items())
    kinds = {name: value.dtype for name, value in half.denoiser.named_parameters()}
    assert {kind for name, kind in kinds.items() if "lora_" in name} == {torch.float32}
    assert torch.bfloat16 in kinds.values()
    latents, noise, conditioning = _inputs(half, 3)
    timesteps = torch.tensor([100, 400, 900])

    def losses(_: torch.nn.Module) -> torch.Tensor:
        return half.objective(latents, noise, timesteps, conditioning)

    check(half.denoiser, losses, 3, tolerance=1e-4, selection="adapter")
    before = whole.objective(latents, noise, timesteps, whole.encode_prompts(PROMPTS))
    assert torch.allclose(losses(half.denoiser), before, rtol=0.05)
    assert next(half.vae.parameters()).dtype == torch.float32
    text = half.load_part("text_encoder")
    assert {value.dtype for value in text.parameters()} == {torch.float32, torch.bfloat16}


def test_half_weights_are_computed_with_in_float32(base: dict[str, Any]) -> None:
    half, exact = (load_family({**base, "precision": precision}, CPU, PARTS) for precision in ("bfloat16", "float32"))
    # The same numbers, each rounded as the half network has it.
    encoders = [part for part in half.frozen if part.startswith("text_encoder")]
    networks = [[loaded.denoiser, *map(loaded.text_encoder_of, encoders)] for loaded in (half, exact)]
    for rounded, network in zip(*networks, strict=True):
        network.load_state_dict(rounded.state_dict())
    prompts = [loaded.encode_prompts(PROMPTS[:2]) for loaded in (half, exact)]
    for name, value in prompts[1].items():
        torch.testing.assert_close(prompts[0][name], value, rtol=1e-5, atol=1e-5)
    latents, noise, _ = _inputs(exact, 2)
    found, expected = (loaded.predict(latents, noise, torch.tensor([100, 900]), prompts[1]) for loaded in (half, exact))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_text_encoders_are_gone_before_the_denoiser_comes(
    base: dict[str, Any], encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []
    load, read = Family.load_part, Family.read_denoiser
    seen: list[int] = []

    def remember(self: Family, part: str) -> Any:
        network = load(self, part)
        if part.startswith("text_encoder"):
            alive.append(weakref.ref(network))
        return network

    def count(self: Family, untrained: bool) -> Any:
        seen.append(sum(reference() is not None for reference in alive))
        return read(self, untrained)

    monkeypatch.setattr(Family, "load_part", remember)
    monkeypatch.setattr(Family, "read_denoiser", count)
    model = TrainedModel(base, build_adapter(base, tmp_path))
    seen.clear()
    alive.clear()
    settings = {"steps": 2, "guidance": 2.0, "size": SIZE}
    table = pd.DataFrame({"id": ["a", "b", "c"], "prompt": PROMPTS, "seed": [1, 2, 3]})
    images = generate_images(table, model, settings, Pace("cpu", 2))
    assert len(alive) >= 1 and seen == [0]
    # Each image is that of its own seed, whichever batch it is in.
    alone = generate_images(table[2:].reset_index(drop=True), model, settings, Pace("cpu", 1))
    pixels = [sample_pixels(images[2:]), sample_pixels(alone)]
    assert np.abs(pixels[0].astype(float) - pixels[1]).max() <= 1
