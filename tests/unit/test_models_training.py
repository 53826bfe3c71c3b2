"""Training from files to files, on the tiny pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_pipeline import CPU, LORA, random_samples
from tiny_training import ADAPTER, train_adapter

from dmin.models.encoded import EncodedSamples
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.models.load import load_family
from dmin.models.training import train_model as training
from dmin.models.training.batch import Pool, batch_indices, draw_batch, logged_noise, training_log
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError


def uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw timesteps as a diffusion target of 1000 does."""
    return torch.randint(0, 1000, (count,), generator=generator)


@pytest.fixture(autouse=True)
def _log_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOG_EVERY", 3)


def test_files_are_written_and_nothing_else(tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    train_adapter(tiny_base, tiny_samples, folder)
    adapter = folder / "pytorch_lora_weights.safetensors"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".sha256",
        "checkpoints",
        "model.json",
        "pytorch_lora_weights.safetensors",
        "training.csv",
        "training_log.parquet",
    ]
    curve = pd.read_csv(folder / "training.csv")
    assert list(curve.columns) == ["step", "loss", "learning_rate"]
    assert curve["step"].tolist() == [3, 6, 7]
    facts = json.loads((folder / "model.json").read_text())
    assert facts["weights"] == file_digest(adapter) and facts["samples"] == file_digest(tiny_samples)
    assert facts["parameters"] == sum(value.numel() for value in load_file(adapter).values()) == 7680
    assert facts["lora"] == ADAPTER["lora"] and facts["train"] == ADAPTER["train"]

    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(folder)
    moved = [value.abs().max() for name, value in family.denoiser.named_parameters() if "lora_B" in name]
    assert len(moved) == 32 and min(moved) > 0


@pytest.mark.fault("Ctrl-C in the training of an adapter", "continues to the same bytes")
def test_interrupted_training_resumes_bit_for_bit(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_adapter(tiny_base, tiny_samples, tmp_path / "whole")
    objective, calls = StableDiffusion.objective, 0

    def die_on_sixth(self: StableDiffusion, *inputs: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return objective(self, *inputs)

    monkeypatch.setattr(StableDiffusion, "objective", die_on_sixth)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(tiny_base, tiny_samples, tmp_path / "cut")
    assert not (tmp_path / "cut" / "pytorch_lora_weights.safetensors").exists()
    assert train_adapter(tiny_base, tiny_samples, tmp_path / "cut") == whole
    for name in (
        "checkpoints/3/pytorch_lora_weights.safetensors",
        "checkpoints/5/pytorch_lora_weights.safetensors",
        "checkpoints/checkpoints.json",
        "training_log.parquet",
    ):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Five steps before the interruption, of which four were saved; then the last three.
    assert calls == 6 + 3


def test_changed_settings_do_not_resume(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {**ADAPTER, "train": {**ADAPTER["train"], "learning_rate": 0.02}}
    whole = train_adapter(tiny_base, tiny_samples, tmp_path / "whole", changed)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusion, "save_adapter", die)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(tiny_base, tiny_samples, tmp_path / "cut")
    assert train_adapter(tiny_base, tiny_samples, tmp_path / "cut", changed) == whole


def test_dropped_prompts_become_the_empty_one(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    objective = StableDiffusion.objective

    def watch(self: StableDiffusion, *inputs: Any) -> torch.Tensor:
        seen.append(inputs[3]["prompt_embeds"].clone())
        return objective(self, *inputs)

    monkeypatch.setattr(StableDiffusion, "objective", watch)
    empty = random_samples(5).unconditional["prompt_embeds"]
    for share, expected in ((0.0, False), (1.0, True)):
        seen.clear()
        model = {**ADAPTER, "train": {**ADAPTER["train"], "steps": 1, "checkpoints": [], "prompt_dropout": share}}
        train_adapter(tiny_base, tiny_samples, tmp_path / str(share), model)
        assert [torch.equal(row, empty[0]) for row in seen[0]] == [expected] * 4


def test_unknown_target_stops_before_training(tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path) -> None:
    model = {**ADAPTER, "lora": {**LORA, "targets": ["to_x"]}}
    with pytest.raises(UserError, match=r"lora\.targets names 'to_x'"):
        train_adapter(tiny_base, tiny_samples, tmp_path / "model", model)
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(("count", "size"), [(10, 4), (10, 5), (7, 3), (3, 8), (1, 2)])
def test_every_epoch_visits_every_sample_once(count: int, size: int) -> None:
    epochs = 4
    steps = -(-epochs * count // size)
    visited = torch.cat([batch_indices(count, size, step, seed=1) for step in range(steps)])[: epochs * count]
    orders = visited.view(epochs, count)
    assert torch.equal(orders.sort(1).values, torch.arange(count).expand(epochs, count))
    if count == 10:
        assert len({tuple(order.tolist()) for order in orders}) == epochs


def test_epochs_visit_samples_as_often_as_they_repeat() -> None:
    samples = replace(random_samples(4), repeats=torch.tensor([3, 1, 2, 1]))
    settings = {**ADAPTER["train"], "batch_size": 5}

    def visited(samples: EncodedSamples, steps: int) -> torch.Tensor:
        drawn = [draw_batch(Pool.of_one_shape(samples.entries, (1,)), settings, step, uniform) for step in range(steps)]
        return torch.cat([batch.index for batch in drawn])

    assert visited(samples, 7)[:35].bincount().tolist() == [15, 5, 10, 5]
    assert visited(samples.take([3, 0]), 4).bincount().tolist() == [5, 15]
    log = training_log(samples.ids, Pool.of_one_shape(samples.entries, (1,)), {**settings, "steps": 7}, uniform)
    assert log["sample_id"].value_counts()[samples.ids].tolist() == [15, 5, 10, 5]
    # Once each, a training is what it was without.
    once = replace(samples, repeats=torch.ones(4, dtype=torch.long))
    assert torch.equal(visited(once, 4), visited(random_samples(4), 4))


def test_batches_depend_on_step_and_seed_alone() -> None:
    torch.manual_seed(1)
    first = batch_indices(100, 32, 5, seed=1)
    torch.manual_seed(2)
    assert torch.equal(batch_indices(100, 32, 5, seed=1), first)
    assert not torch.equal(batch_indices(100, 32, 5, seed=2), first)


def test_log_names_what_every_step_saw(
    tiny_base: Mapping[str, Any], tiny_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    objective = StableDiffusion.objective

    def watch(self: StableDiffusion, *inputs: Any) -> torch.Tensor:
        seen.append(inputs)
        return objective(self, *inputs)

    monkeypatch.setattr(StableDiffusion, "objective", watch)
    train_adapter(tiny_base, tiny_samples, tmp_path)
    samples, entries = EncodedSamples.load(tiny_samples), pd.read_parquet(tmp_path / "training_log.parquet")
    assert len(entries) == 7 * 4 and set(entries["dropped"]) == {True, False}
    for entry in entries.to_dict("records"):
        latents, noise, timesteps, conditioning = seen[entry["step"] - 1]
        row, place = entry["row"], samples.ids.index(entry["sample_id"])
        prompt = (
            samples.unconditional["prompt_embeds"][0]
            if entry["dropped"]
            else samples.conditioning["prompt_embeds"][place]
        )
        assert torch.equal(latents[row], samples.latents[place]) and timesteps[row] == entry["timestep"]
        assert torch.equal(noise[row], logged_noise(entry, latents.shape[1:]))
        assert torch.equal(conditioning["prompt_embeds"][row], prompt)
