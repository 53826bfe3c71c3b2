"""The families: objectives, schedules, and the way from files to gradients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMPipeline, StableDiffusion3Pipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from tiny_families import PROMPTS, SIZE, build_ddpm, build_sd3
from tiny_pipeline import LORA, build_base, gradient_config, make_shard
from torch import Tensor, nn

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.gradients.noise import draw_noise
from dmin.gradients.selection import select_parameters
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.families.ddpm import Ddpm
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.training.fit import Minimisation, fit
from dmin.models.training.pace import TrainingPace
from dmin.models.training.state import TrainingState
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import batch_losses, train_model
from dmin.models.training.weight_average import WeightAverage
from dmin.runtime.digests import weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

CPU = torch.device("cpu")
TIMESTEPS = torch.tensor([999, 998, 400, 0])
TRAIN = {
    "seed": 1,
    "steps": 5,
    "batch_size": 4,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "warmup_steps": 1,
    "prompt_dropout": 0.3,
    "accumulation": 1,
    "checkpointing": False,
    "precision": "float32",
    "ema": None,
    "checkpoints": [],
}
BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ddpm": build_ddpm,
    "ddpm_grey": lambda folder: build_ddpm(folder, channels=1),
    "sd": build_base,
    "sd3": build_sd3,
    "sd3_t5": lambda folder: build_sd3(folder, t5=True),
}


class _Answer(nn.Module):
    """A denoiser that returns a fixed tensor and remembers what it was fed."""

    def __init__(self, answer: Tensor, config: Any = None) -> None:
        super().__init__()
        self.answer, self.config = answer, config

    def forward(self, *inputs: Tensor) -> Any:
        self.inputs = inputs
        return type("Output", (), {"sample": self.answer})


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {name: build(tmp_path_factory.mktemp(name)) for name, build in BUILDERS.items()}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Five grey images with prompts, encoded for every base."""
    folder = tmp_path_factory.mktemp("encoded")
    pixels = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE, 1), dtype=np.uint8).repeat(3, axis=3)
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    ids = [f"a/{number}" for number in range(5)]
    write_samples(
        pd.DataFrame({"id": ids, "prompt": [PROMPTS[number % 3] for number in range(5)], "image": images}),
        folder / "train.parquet",
    )
    for name, base in bases.items():
        encode_samples(folder / "train.parquet", base, folder / f"{name}.safetensors", Pace("cpu", 2))
    return {name: folder / f"{name}.safetensors" for name in bases}


def _pair(family: Family) -> tuple[Tensor, Tensor]:
    latents, noise = torch.randn((2, 4, *family.latent_shape(SIZE)), generator=torch.Generator().manual_seed(0))
    return latents, noise


def _train(
    base: dict[str, Any], samples: Path, folder: Path, finetune: str = "full", save_every: int = 2, **train: Any
) -> Path:
    model = {"finetune": finetune, "lora": LORA, "train": {**TRAIN, **train}}
    weights = folder / ("pipeline" if finetune == "full" else "pytorch_lora_weights.safetensors")
    names = ("model.json", "training.csv", "checkpoints", "training_log.parquet")
    files = TrainingFiles(weights, *(folder / name for name in names))
    train_model(TrainingTask(samples, Recipe(base, model), files), TrainingPace("cpu", save_every))
    return weights


def _written(folder: Path) -> dict[str, Tensor]:
    files = [*folder.glob("unet/*.safetensors"), *folder.glob("transformer/*.safetensors")]
    assert len(files) == 1
    return load_file(files[0])


def test_pixels_of_a_ddpm_are_its_latents_in_minus_one_to_one(bases: dict[str, dict[str, Any]]) -> None:
    family = load_family(bases["ddpm"], CPU, ["encoders"])
    pixels = torch.stack([torch.full((3, SIZE, SIZE), value) for value in (-1.0, 0.2, 1.0)])
    assert torch.equal(family.encode_images(pixels), pixels)
    grey = load_family(bases["ddpm_grey"], CPU, ["encoders"])
    assert torch.equal(grey.encode_images(pixels), pixels[:, :1])
    with pytest.raises(UserError, match="have colour"):
        grey.encode_images(torch.rand(1, 3, SIZE, SIZE))
    with pytest.raises(UserError, match=rf"Images of 8 px do not fit this UNet; set the data set's size to {SIZE}"):
        family.encode_images(torch.zeros(1, 3, 8, 8))


def test_encoded_pixels_span_the_range(encoded: dict[str, Path]) -> None:
    latents = EncodedSamples.load(encoded["ddpm"]).latents
    assert -1 <= latents.min() < -0.9 and 0.9 < latents.max() <= 1


def test_ddpm_target_is_the_noise(bases: dict[str, dict[str, Any]]) -> None:
    family = load_family(bases["ddpm"], CPU, ["encoders"])
    latents, noise = _pair(family)
    family.denoiser = _Answer(noise)
    assert torch.equal(family.objective(latents, noise, TIMESTEPS, {}), torch.zeros(4))
    kept = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)[TIMESTEPS].float()
    kept = kept.view(-1, 1, 1, 1)
    assert torch.allclose(family.denoiser.inputs[0], kept.sqrt() * latents + (1 - kept).sqrt() * noise, atol=1e-5)


def test_flow_target_is_noise_minus_latent(bases: dict[str, dict[str, Any]]) -> None:
    family = load_family(bases["sd3"], CPU, ["denoiser", "encoders"])
    latents, noise = _pair(family)
    conditioning = family.encode_prompts([*PROMPTS, ""])
    family.denoiser = _Answer(noise - latents, family.denoiser.config)
    assert torch.equal(family.objective(latents, noise, TIMESTEPS, conditioning), torch.zeros(4))
    assert torch.allclose(
        family.reference_objective(latents, noise, TIMESTEPS, conditioning), latents.square().mean((1, 2, 3)), rtol=1e-5
    )
    # The paper's schedule: shift 3, sigma at s = (t + 1) / 1000 is 3 s / (1 + 2 s).
    share = (TIMESTEPS + 1) / 1000
    sigma = (3 * share / (1 + 2 * share)).view(-1, 1, 1, 1)
    noisy, tokens, _, times = family.denoiser.inputs
    assert torch.allclose(noisy, (1 - sigma) * latents + sigma * noise, atol=1e-5)
    assert torch.allclose(times, 1000 * sigma.flatten(), rtol=1e-5)
    # Both CLIPs side by side, zeros up to the joint width, and zeros where T5 would stand.
    assert tokens.shape == (4, 8 + 256, 24)
    assert torch.equal(tokens[:, :8, :16], conditioning["clip"])
    assert not tokens[:, :8, 16:].any() and not tokens[:, 8:].any()


@pytest.mark.parametrize("name", ["sd3", "sd3_t5"])
def test_prompts_are_encoded_as_the_pipeline_does(bases: dict[str, dict[str, Any]], name: str) -> None:
    family = load_family(bases[name], CPU, ["denoiser", "encoders"])
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        bases[name]["path"], **({} if name == "sd3_t5" else {"text_encoder_3": None, "tokenizer_3": None})
    )
    with torch.no_grad():
        tokens, _, pooled, _ = pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
    conditioning = family.encode_prompts(PROMPTS)
    latents, noise = (value[:3] for value in _pair(family))
    family.denoiser = _Answer(noise, family.denoiser.config)
    family.objective(latents, noise, TIMESTEPS[:3], conditioning)
    assert torch.allclose(family.denoiser.inputs[1], tokens, atol=1e-6)
    assert torch.allclose(family.denoiser.inputs[2], pooled, atol=1e-6)


def test_sampling_does_not_move_the_training_schedule(bases: dict[str, dict[str, Any]]) -> None:
    family: Any = load_family(bases["sd3"], CPU, ["denoiser", "encoders"])
    before = family.target.scheduler.sigmas.clone()
    prompts, empty = family.encode_prompts(PROMPTS[:2]), family.encode_prompts([""])
    noise = torch.randn((2, *family.latent_shape(SIZE)), generator=torch.Generator().manual_seed(0))
    images = family.sample(prompts, empty, noise, {"steps": 3, "guidance": 4.0})
    assert images.shape == (2, SIZE, SIZE, 3) and images.dtype == np.uint8
    assert torch.equal(family.target.scheduler.sigmas, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_ddpm_images_repeat_from_their_noise(bases: dict[str, dict[str, Any]], channels: int) -> None:
    family = load_family(bases["ddpm" if channels == 3 else "ddpm_grey"], CPU, ["denoiser"])
    noise = torch.randn((3, *family.latent_shape(SIZE)), generator=torch.Generator().manual_seed(0))
    settings = {"steps": 4, "guidance": 1.0}
    together = family.sample({}, {}, noise, settings)
    assert together.shape == (3, SIZE, SIZE, 3)
    alone = np.concatenate([family.sample({}, {}, noise[row : row + 1], settings) for row in range(3)])
    assert np.abs(together.astype(int) - alone).max() <= 1


@pytest.mark.parametrize(
    ("family", "count", "expected"),
    [
        ("ddpm", 10, [999, 998, 991, 972, 935, 874, 783, 656, 487, 270]),
        ("ddpm", 5, [999, 991, 935, 783, 487]),
        ("stable_diffusion", 10, [998, 992, 973, 936, 875, 784, 657, 488, 271, 0]),
        ("stable_diffusion", 5, [992, 936, 784, 488, 0]),
    ],
)
def test_cubic_grid_of_the_published_code(family: str, count: int, expected: list[int]) -> None:
    assert timestep_grid({"grid": "dmin_cubic", "count": count, "custom": []}, family) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (10, [1, 0.9997, 0.9973, 0.9908, 0.9777, 0.9545, 0.9159, 0.8518, 0.7409, 0.5272]),
        (5, [1, 0.9973, 0.9777, 0.9159, 0.7409]),
    ],
)
def test_cubic_grid_of_sd3_meets_the_published_sigmas(
    bases: dict[str, dict[str, Any]], count: int, expected: list[float]
) -> None:
    family: Any = load_family(bases["sd3"], CPU, [])
    grid = torch.tensor(timestep_grid({"grid": "dmin_cubic", "count": count, "custom": []}, "stable_diffusion_3"))
    assert family.target.scheduler.sigmas[999 - grid].tolist() == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize("name", ["ddpm_grey", "sd", "sd3_t5"])
def test_full_training_writes_a_pipeline_that_loads(
    bases: dict[str, dict[str, Any]], encoded: dict[str, Path], tmp_path: Path, name: str
) -> None:
    weights = _train(bases[name], encoded[name], tmp_path)
    kinds = {"ddpm_grey": DDPMPipeline, "sd": StableDiffusionPipeline, "sd3_t5": StableDiffusion3Pipeline}
    pipeline = kinds[name].from_pretrained(weights)
    trained = load_trained(TrainedModel(bases[name], weights), CPU, ["denoiser"])
    before = load_family(bases[name], CPU, ["denoiser"]).denoiser.state_dict()
    part = getattr(pipeline, trained.part).state_dict()
    for key, value in trained.denoiser.state_dict().items():
        assert torch.equal(part[key], value)
    assert any(not torch.equal(value, before[key]) for key, value in part.items())
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["weights"] == weights_digest(weights) and facts["written"] == "last step"
    assert facts["parameters"] == sum(value.numel() for value in trained.denoiser.parameters())
    made = {".sha256", "checkpoints", "model.json", "pipeline", "training.csv", "training_log.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == made


@pytest.mark.parametrize("ema", [None, 0.9])
def test_interrupted_full_training_resumes_bit_for_bit(
    bases: dict[str, dict[str, Any]],
    encoded: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ema: float | None,
) -> None:
    whole = _written(_train(bases["ddpm"], encoded["ddpm"], tmp_path / "whole", ema=ema))
    objective, calls = Ddpm.objective, 0

    def die_on_fourth(self: Ddpm, *inputs: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return objective(self, *inputs)

    monkeypatch.setattr(Ddpm, "objective", die_on_fourth)
    with pytest.raises(KeyboardInterrupt):
        _train(bases["ddpm"], encoded["ddpm"], tmp_path / "cut", ema=ema)
    assert not (tmp_path / "cut" / "pipeline").exists()
    resumed = _written(_train(bases["ddpm"], encoded["ddpm"], tmp_path / "cut", ema=ema))
    # Three steps before the interruption, of which two were saved; then the last three.
    assert calls == 4 + 3
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_training_from_configs_alone_starts_at_random_weights(
    encoded: dict[str, Path], tmp_path: Path, bases: dict[str, dict[str, Any]]
) -> None:
    base = build_ddpm(tmp_path / "base", weights=False)
    first, again = (_written(_train(base, encoded["ddpm"], tmp_path / name)) for name in ("first", "again"))
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = _written(_train(base, encoded["ddpm"], tmp_path / "other", seed=2))
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])


def test_adapters_need_weights_and_a_family_that_takes_them(
    bases: dict[str, dict[str, Any]], encoded: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="family ddpm takes no adapter; set finetune to full"):
        _train(bases["ddpm"], encoded["ddpm"], tmp_path / "ddpm", finetune="adapter")
    base = shutil.copytree(bases["sd3"]["path"], tmp_path / "base")
    (base / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    # Random weights are for a DDPM that is trained from nothing; a large base without weights is a download gone wrong.
    for finetune in ("adapter", "full"):
        with pytest.raises(UserError, match=r"'.*/base' has no weights of its transformer; add them"):
            _train({**bases["sd3"], "path": str(base)}, encoded["sd3"], tmp_path / "sd3", finetune=finetune)


def test_sd3_adapter_round_trip(bases: dict[str, dict[str, Any]], encoded: dict[str, Path], tmp_path: Path) -> None:
    weights = _train(bases["sd3"], encoded["sd3"], tmp_path, finetune="adapter")
    family = load_trained(TrainedModel(bases["sd3"], weights), CPU, ["denoiser"])
    stored = load_file(weights)
    loaded = {name: value for name, value in family.denoiser.named_parameters() if "lora_" in name}
    assert sum(value.numel() for value in loaded.values()) == sum(value.numel() for value in stored.values())
    assert min(value.abs().max() for name, value in loaded.items() if "lora_B" in name) > 0
    scales = {scale for module in family.denoiser.modules() for scale in getattr(module, "scaling", {}).values()}
    assert scales == {LORA["alpha"] / LORA["rank"]}


@pytest.mark.parametrize(
    ("name", "finetune", "parameters"),
    [("ddpm", "full", "all"), ("ddpm_grey", "full", "all"), ("sd", "full", "transformer_blocks"),
     ("sd3", "adapter", "adapter"), ("sd3_t5", "full", "transformer_blocks")],
)  # fmt: skip
def test_gradients_of_every_family(
    bases: dict[str, dict[str, Any]],
    encoded: dict[str, Path],
    tmp_path: Path,
    name: str,
    finetune: str,
    parameters: str,
) -> None:
    weights = _train(bases[name], encoded[name], tmp_path, finetune, steps=2)
    config = gradient_config(parameters=parameters)
    shard = make_shard(tmp_path, bases[name], weights, encoded[name], config, batch=4)
    assert shard.metadata["model"] == weights_digest(weights)
    raw = torch.from_numpy(np.asarray(shard.read("raw"))).float()
    assert raw.shape == (5, 3, shard.metadata["P"])
    family = load_trained(TrainedModel(bases[name], weights), CPU, ["denoiser"])
    samples = EncodedSamples.load(encoded[name], 1, 2)
    chosen = select_parameters(family.denoiser, parameters)
    family.denoiser.requires_grad_(False)
    for value in chosen.values():
        value.requires_grad_(True)
    timestep = shard.metadata["timesteps"][1]
    noise = draw_noise(config["noise"], [("a/1", timestep)], samples.latents.shape[1:])
    loss = family.objective(samples.latents, noise, torch.tensor([timestep]), dict(samples.conditioning))
    flat = torch.cat([value.flatten() for value in torch.autograd.grad(loss.sum(), list(chosen.values()))])
    assert torch.nn.functional.cosine_similarity(raw[1, 1], flat, dim=0) > 0.9999


def test_reference_objective_changes_the_gradients_of_sd3_and_is_refused_elsewhere(
    bases: dict[str, dict[str, Any]], encoded: dict[str, Path], tmp_path: Path
) -> None:
    weights = _train(bases["sd3"], encoded["sd3"], tmp_path, "adapter", steps=1)
    shards = [
        make_shard(tmp_path / kind, bases["sd3"], weights, encoded["sd3"], gradient_config(objective=kind))
        for kind in ("training", "reference")
    ]
    assert [shard.metadata["objective"] for shard in shards] == ["training", "reference"]
    cosine = [np.sum(a * b) for a, b in zip(*(s.read("raw").astype(np.float32)[:, 0] for s in shards), strict=True)]
    assert max(cosine) < 0.99
    full = _train(bases["ddpm"], encoded["ddpm"], tmp_path / "ddpm", steps=1)
    config = gradient_config(parameters="all", objective="reference")
    with pytest.raises(UserError, match="only stable_diffusion_3 has"):
        make_shard(tmp_path / "ddpm", bases["ddpm"], full, encoded["ddpm"], config)


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_pieces_of_a_batch_add_up_to_it(
    bases: dict[str, dict[str, Any]], encoded: dict[str, Path], pieces: int
) -> None:
    family = load_family(bases["sd3"], CPU, ["denoiser"])
    samples = EncodedSamples.load(encoded["sd3"])
    with torch.no_grad():
        whole, split = (
            list(batch_losses(family, samples, {**TRAIN, "accumulation": count}, 3)) for count in (1, pieces)
        )
    assert len(split) == pieces
    assert sum(split) == pytest.approx(whole[0].item(), rel=1e-5)


def test_checkpointing_changes_no_gradient(bases: dict[str, dict[str, Any]], encoded: dict[str, Path]) -> None:
    samples, found = EncodedSamples.load(encoded["sd3"]), []
    for checkpointing in (False, True):
        family = load_family(bases["sd3"], CPU, ["denoiser"])
        family.denoiser.requires_grad_(True)
        if checkpointing:
            family.denoiser.enable_gradient_checkpointing()
        next(batch_losses(family, samples, TRAIN, 0)).backward()
        found.append(
            torch.cat([value.grad.flatten() for value in family.denoiser.parameters() if value.grad is not None])
        )
    assert found[0].norm() > 0
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-7)


def test_average_of_weights_follows_its_recurrence(tmp_path: Path) -> None:
    weight = torch.zeros(3, requires_grad=True)
    average = WeightAverage({"weight": weight}, 0.3)
    seen = []

    def follow(step: int) -> None:
        average.update(step)
        seen.append(weight.detach().clone())

    loop = {"steps": 6, "learning_rate": 0.1, "weight_decay": 0.0, "warmup_steps": 0}
    state = TrainingState(tmp_path, "key")
    problem = Minimisation("toy", [weight], lambda step: (weight - 1).square().sum(), {"weight": weight}, follow)
    fit(problem, loop, state, TrainingPace("cpu", 9))
    expected = torch.zeros(3)
    for step, value in enumerate(seen):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    average.apply()
    assert torch.allclose(weight, expected, atol=1e-6)
    assert not torch.equal(weight, seen[-1])


def test_without_decay_the_last_weights_stay() -> None:
    weight = torch.ones(2)
    average = WeightAverage({"weight": weight}, None)
    weight += 1
    average.update(0)
    average.apply()
    assert average.tensors == {} and torch.equal(weight, torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("ddpm", {"prediction_type": "sample"}, "prediction_type 'sample'; epsilon and v_prediction are supported"),
        ("ddpm", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "does not belong to this family"),
        ("sd3", {"_class_name": "DDPMScheduler"}, "DDPMScheduler, which does not belong to this family"),
        ("sd3", {"use_dynamic_shifting": True}, "shifts its sigmas by image size"),
        ("ddpm", {"num_train_timesteps": 500}, "500 training timesteps; only 1000"),
        ("ddpm", None, "has no readable scheduler"),
        ("sd", None, "has no readable scheduler"),
        ("sd", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "does not belong to this family"),
        ("sd3", None, "has no readable scheduler"),
    ],
)
def test_schedules_without_a_known_target_are_refused(
    bases: dict[str, dict[str, Any]], tmp_path: Path, name: str, change: dict[str, Any] | None, sentence: str
) -> None:
    folder = shutil.copytree(bases[name]["path"], tmp_path / "base")
    path = folder / "scheduler" / "scheduler_config.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=sentence):
        load_family({**bases[name], "path": str(folder)}, CPU, [])
