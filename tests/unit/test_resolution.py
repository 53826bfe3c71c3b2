"""Images are generated at the data set's size, whatever size the base was made for; shapes never mix."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_families import SIZE, build_ddpm, build_sd3
from tiny_pipeline import build_adapter, build_base, gradient_config, make_shard, random_samples

from dmin.attribution.gradient_rows import GradientRows, require_equal_settings
from dmin.attribution.methods.ssim import scores as ssim
from dmin.data.images import encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import generate_queries
from dmin.models.queries.record_trajectory import record_trajectory
from dmin.models.queries.trajectory import Trajectory
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

PACE = Pace("cpu", 3)
# The data set's size: the tiny bases are made for half of it.
LARGE = 2 * SIZE
BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "stable_diffusion": build_base,
    "stable_diffusion_3": build_sd3,
}


def sampling(size: int) -> dict[str, Any]:
    return {"per_subset": 2, "seed": 1, "steps": 2, "guidance": 2.0, "size": size}


def write_images(path: Path, size: int, count: int = 3) -> Path:
    """Write a table of random images."""
    pixels = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    ids, prompts = [f"a/{number}" for number in range(count)], ["a red square", "a blue square", "a green square"]
    columns = {"id": ids, "subset": "a", "prompt": prompts[:count], "label": None, "image": images}
    write_samples(pd.DataFrame(columns), path)
    return path


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp(request.param)
    base = BUILDERS[request.param](folder / "base")
    return TrainedModel(base, build_adapter(base, folder / "adapter"))


def test_queries_and_data_meet_at_the_data_sets_size(model: TrainedModel, tmp_path: Path) -> None:
    table = write_images(tmp_path / "train.parquet", LARGE)
    generate_queries(table, model, sampling(LARGE), ["a"], tmp_path / "queries.parquet", PACE)
    queries = read_samples(tmp_path / "queries.parquet")
    assert sample_pixels(queries).shape == (2, LARGE, LARGE, 3)
    assert ssim(SampleRows(tmp_path / "queries.parquet"), SampleRows(table), {}, PACE).shape == (2, 3)
    record_trajectory(tmp_path / "queries.parquet", model, sampling(LARGE), tmp_path / "path.safetensors", PACE)
    ids = queries["id"].tolist()
    assert Trajectory.load(tmp_path / "path.safetensors", ids).clean.shape[2:] == (4, LARGE // 2, LARGE // 2)
    shards = []
    for name in ("train", "queries"):
        encoded = tmp_path / f"{name}.safetensors"
        encode_samples(tmp_path / f"{name}.parquet", model.base, encoded, PACE)
        config = gradient_config(cache_dim=64)
        shards.append(make_shard(tmp_path / name, model.base, model.weights, encoded, config, stop=2))
    assert shards[0].metadata["latent"] == shards[1].metadata["latent"] == [4, LARGE // 2, LARGE // 2]


def test_smaller_images_come_out_small_too(model: TrainedModel, tmp_path: Path) -> None:
    table = write_images(tmp_path / "train.parquet", 8)
    generate_queries(table, model, sampling(8), ["a"], tmp_path / "queries.parquet", PACE)
    assert sample_pixels(read_samples(tmp_path / "queries.parquet")).shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    ("family", "size", "sentence"),
    [
        ("stable_diffusion", 15, "Images of 15 px do not fit this autoencoder; .* a multiple of 2"),
        ("stable_diffusion_3", 18, "Images of 18 px do not fit this autoencoder; .* a multiple of 4"),
        ("stable_diffusion_3", 64, "Images of 64 px do not fit this transformer; .* at most 32"),
        ("ddpm", 32, "Images of 32 px do not fit this UNet; set the data set's size to 16"),
    ],
)
def test_sizes_that_a_base_does_not_take_are_told_before_sampling(
    tmp_path: Path, family: str, size: int, sentence: str
) -> None:
    base = {**BUILDERS, "ddpm": build_ddpm}[family](tmp_path / "base")
    weights = tmp_path / "base" if family == "ddpm" else build_adapter(base, tmp_path / "adapter")
    table = write_images(tmp_path / "train.parquet", size)
    with pytest.raises(UserError, match=sentence):
        generate_queries(table, TrainedModel(base, weights), sampling(size), ["a"], tmp_path / "out.parquet", PACE)
    assert not (tmp_path / "out.parquet").exists()


def enlarged(samples: EncodedSamples) -> EncodedSamples:
    """Return the samples at twice their size."""
    latents = samples.latents.repeat(1, 1, 2, 2)
    return EncodedSamples(samples.ids, latents, samples.conditioning, samples.unconditional)


def test_caches_of_two_shapes_are_never_compared(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    enlarged(random_samples(3, prefix="q")).save(tmp_path / "queries.safetensors")
    train = make_shard(tmp_path / "train", tiny_base, tiny_adapter, tiny_samples)
    queries = make_shard(tmp_path / "q", tiny_base, tiny_adapter, tmp_path / "queries.safetensors", stop=3)
    with pytest.raises(UserError, match=r"differ in latent \(\[4, 16, 16\] against \[4, 8, 8\]\)"):
        require_equal_settings(GradientRows([queries.path], None), GradientRows([train.path], None))


def test_trajectory_of_another_shape_is_refused(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    samples = random_samples(3, prefix="q")
    enlarged(samples).save(tmp_path / "queries.safetensors")
    Trajectory(samples.ids, [900, 500], samples.latents[:, None].repeat(1, 2, 1, 1, 1)).save(tmp_path / "t.safetensors")
    kind = CacheKind("journey", {"quantity": "loss", "draws": 1, "steps": 2}, trajectory=tmp_path / "t.safetensors")
    shard = tmp_path / "00000000-00000003.safetensors"
    task = ShardTask(tmp_path / "queries.safetensors", 0, 3, shard, tmp_path / "metrics.json")
    with pytest.raises(
        UserError, match=r"trajectories have latents of \(4, 8, 8\) and the encoded queries of \(4, 16, 16\)"
    ):
        cache_gradients(task, TrainedModel(tiny_base, tiny_adapter), gradient_config(), kind, PACE)


def test_query_of_another_size_has_no_trajectory(model: TrainedModel, tmp_path: Path) -> None:
    table = write_images(tmp_path / "train.parquet", LARGE)
    generate_queries(table, model, sampling(LARGE), ["a"], tmp_path / "queries.parquet", PACE)
    with pytest.raises(UserError, match=rf"is an image of {LARGE} x {LARGE} px and not of {SIZE}"):
        record_trajectory(tmp_path / "queries.parquet", model, sampling(SIZE), tmp_path / "t.safetensors", PACE)


def test_denoiser_with_other_channels_is_refused(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    samples = EncodedSamples.load(tiny_samples)
    wide = EncodedSamples(samples.ids, samples.latents.repeat(1, 2, 1, 1), samples.conditioning, samples.unconditional)
    wide.save(tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match="takes 4 channels and gives 4, and its latents have 8"):
        make_shard(tmp_path, tiny_base, tiny_adapter, tmp_path / "wide.safetensors")


def test_long_prompts_of_queries_are_told(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = write_images(tmp_path / "train.parquet", SIZE)
    rows = read_samples(table)
    write_samples(rows.assign(prompt=["a red flag " * 9] * len(rows)), table)
    with caplog.at_level(logging.WARNING):
        model = TrainedModel(tiny_base, tiny_adapter)
        generate_queries(table, model, sampling(SIZE), ["a"], tmp_path / "queries.parquet", PACE)
    assert "2 of 2 prompts are longer than the text encoder takes, and cut (query/a/0000)" in caplog.text


def spoilt(base: Mapping[str, Any], folder: Path, file: str, **changes: Any) -> dict[str, Any]:
    """Copy a base with changes to one of its JSON files."""
    shutil.copytree(base["path"], folder)
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return {**base, "path": str(folder)}


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.attack(
    "model", "epsilon under zero terminal SNR and trailing steps", "refused at load; never black images"
)
@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_schedule_that_begins_with_a_division_by_zero_is_refused(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path, spacing: str
) -> None:
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": spacing}
    table = write_images(tmp_path / "train.parquet", SIZE)
    base = spoilt(tiny_base, tmp_path / "base", SCHEDULER, **zero)
    with pytest.raises(UserError, match=rf"epsilon with zero terminal SNR .* timestep_spacing '{spacing}'"):
        generate_queries(table, TrainedModel(base, tiny_adapter), sampling(SIZE), ["a"], tmp_path / "q.parquet", PACE)
    # What is possible stays so: velocity is defined there, and leading steps begin before it.
    for name, change in (("v", {"prediction_type": "v_prediction"}), ("leading", {"timestep_spacing": "leading"})):
        base = spoilt(tiny_base, tmp_path / name, SCHEDULER, **{**zero, **change})
        model = TrainedModel(base, tiny_adapter)
        generate_queries(table, model, sampling(SIZE), ["a"], tmp_path / f"{name}.parquet", PACE)
        assert sample_pixels(read_samples(tmp_path / f"{name}.parquet")).std() > 1


def test_first_step_that_is_not_finite_is_named(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    table = write_images(tmp_path / "train.parquet", SIZE)
    config = {**sampling(SIZE), "guidance": 1e39}
    with pytest.raises(
        UserError,
        match=r"Query 'query/a/000\d' \('a \w+ square'\): the denoiser's values at step 1 \(timestep \d+\) are",
    ):
        generate_queries(table, TrainedModel(tiny_base, tiny_adapter), config, ["a"], tmp_path / "q.parquet", PACE)


def test_latents_that_are_not_finite_name_their_sample(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    table = write_images(tmp_path / "train.parquet", SIZE)
    base = spoilt(tiny_base, tmp_path / "base", "vae/config.json", scaling_factor=1e39)
    with pytest.raises(UserError, match=r"Sample 'a/0': the autoencoder's latents are not finite"):
        encode_samples(table, base, tmp_path / "out.safetensors", PACE)


def test_steps_beyond_the_schedule_are_told(tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path) -> None:
    table = write_images(tmp_path / "train.parquet", SIZE)
    base = spoilt(tiny_base, tmp_path / "base", SCHEDULER, steps_offset=600)
    with pytest.raises(
        UserError, match="2 sampling steps begin at timestep 1100, beyond the last of the schedule, 999"
    ):
        generate_queries(table, TrainedModel(base, tiny_adapter), sampling(SIZE), ["a"], tmp_path / "q.parquet", PACE)


def test_prompts_that_are_encoded_alike_are_refused(
    tiny_base: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dmin.models.families.stable_diffusion import StableDiffusion

    table = write_images(tmp_path / "train.parquet", SIZE)
    write_samples(read_samples(table).assign(prompt=["red", "tan", "RED "]), table)
    monkeypatch.setattr(StableDiffusion, "encode_prompts", lambda self, prompts: {"x": torch.ones(len(prompts), 8, 16)})
    with pytest.raises(UserError, match="make the same of 2 different prompts; download the base again"):
        encode_samples(table, tiny_base, tmp_path / "out.safetensors", PACE)


def test_whole_training_checks_what_it_will_write(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base["path"], tmp_path / "base"))
    (base / "vae" / "diffusion_pytorch_model.safetensors").rename(base / "vae" / "diffusion_pytorch_model.bin")
    names = ("pipeline", "model.json", "training.csv", "checkpoints", "training_log.parquet")
    files = TrainingFiles(*(tmp_path / "out" / name for name in names))
    recipe = Recipe({**tiny_base, "path": str(base)}, {"finetune": "full", "train": TRAIN})
    with pytest.raises(UserError, match=r"The vae of .* a format that can run code"):
        train_model(TrainingTask(tiny_samples, recipe, files), TrainingPace("cpu", 1))


TRAIN = {
    "seed": 1,
    "steps": 1,
    "batch_size": 1,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "warmup_steps": 1,
    "prompt_dropout": 0.0,
    "accumulation": 1,
    "checkpointing": False,
    "precision": "float32",
    "ema": None,
    "checkpoints": [],
}
