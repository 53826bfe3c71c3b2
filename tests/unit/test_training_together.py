"""Small models that are trained at once as one network."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from peft import LoraConfig
from safetensors.torch import load_file
from tiny_pipeline import build_base, random_samples
from tiny_training import ADAPTER, BANK, FULL, TRAIN, retraining_job
from torch import nn

import dmin.models.training.train_model as alone
import dmin.models.training.train_together as together
import dmin.retraining.retrain as module
from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.training.pace import TrainingPace
from dmin.models.training.stacked import can_stack, clip_each, interleave, stack_networks
from dmin.models.training.task import Recipe
from dmin.models.training.train_together import trains_together
from dmin.retraining.members import Member, Retrainings
from dmin.retraining.retrain import Bank, retrain_subsets
from dmin.runtime.deadline import StopRequest
from dmin.runtime.digests import weights_digest
from dmin.runtime.errors import UserError

UNET = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Return the arguments of a job that trains four sets of four samples, twice each."""
    given = retraining_job(tmp_path)
    sets = [(number, f"s{(row + number) % 8}") for number in range(4) for row in range(4)]
    pd.DataFrame(sets, columns=["set", "id"]).to_parquet(given["sets"])
    return {**given, "retrainings": Retrainings(BANK, 0, 8)}


def weights(out: Path) -> dict[str, str]:
    return {folder.name: weights_digest(folder / "pipeline") for folder in sorted(out.glob("set*"))}


def small_unet() -> nn.Module:
    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4, attention_head_dim=4,
    )  # fmt: skip


def adapted_unet() -> nn.Module:
    network = UNet2DConditionModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4, attention_head_dim=2, cross_attention_dim=6,
    ).requires_grad_(False)  # fmt: skip
    network.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    return network


@pytest.mark.parametrize("build", [small_unet, adapted_unet])
def test_stacked_network_is_each_network_by_itself(build: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    network = build().double().eval()
    assert can_stack(network)
    members = [copy.deepcopy(network) for _ in range(3)]
    trained = [{name: value for name, value in member.named_parameters() if value.requires_grad} for member in members]
    for values in trained:
        for value in values.values():
            nn.init.normal_(value, std=0.2)
    stacked = stack_networks(network, trained)
    rows, times = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64), torch.tensor([[1, 900], [5, 5], [30, 2]])
    prompts = [torch.randn(3, 2, 5, 6, dtype=torch.float64)] if build is adapted_unet else []
    given = [interleave(list(value)) for value in (rows, times, *prompts)]
    out = stacked(*given).sample.unflatten(0, (2, 3)).transpose(0, 1)
    alike = [
        member(*(value[place] for value in (rows, times, *prompts))).sample for place, member in enumerate(members)
    ]
    assert torch.allclose(out, torch.stack(alike), rtol=1e-10)
    (out.square().sum() * 1e3).backward()
    (torch.stack(alike).square().sum() * 1e3).backward()
    found = {name: value for name, value in stacked.named_parameters() if value.requires_grad}
    assert found.keys() == trained[0].keys()
    clip_each(list(found.values()))
    for place, values in enumerate(trained):
        assert torch.nn.utils.clip_grad_norm_(values.values(), 1.0) > 1
        for name, value in values.items():
            assert value.grad is not None and found[name].grad is not None
            assert torch.allclose(found[name].grad[place], value.grad, atol=1e-10), name


def test_a_small_gradient_is_not_scaled() -> None:
    value = nn.Parameter(torch.zeros(2, 3))
    value.grad = torch.tensor([[0.3, 0.4, 0.0], [3.0, 4.0, 0.0]])
    clip_each([value])
    assert torch.allclose(value.grad, torch.tensor([[0.3, 0.4, 0.0], [0.6, 0.8, 0.0]]))


@pytest.mark.parametrize(
    "network",
    [nn.Sequential(nn.LayerNorm(4)), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding_mode="reflect")],
)
def test_a_network_of_other_layers_is_not_stacked(network: nn.Module) -> None:
    assert not can_stack(network)


def test_weights_are_those_of_one_after_another(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def double(*given: Any) -> Family:
        family = load_family(*given)
        family.denoiser.double()
        return family

    monkeypatch.setattr(module, "TOGETHER", 3)
    job["retrainings"] = Retrainings(BANK, 0, 3)
    # In single precision, rounding alone moves weights that the loss hardly depends on by as much as a step.
    for place in (alone, together):
        monkeypatch.setattr(place, "load_family", double)
    encoded = EncodedSamples.load(job["samples"])
    replace(encoded, stored=encoded.latents.double()).save(job["samples"])
    settings = {**TRAIN, "warmup_steps": 2, "weight_decay": 0.1, "ema": 0.9, "checkpoints": []}
    job["recipe"] = Recipe(job["recipe"].base, {**FULL, "train": settings})
    calls = []
    trained = module.train_together
    monkeypatch.setattr(module, "train_together", lambda *given: calls.append(len(given[0])) or trained(*given))
    assert len(retrain_subsets(**job)) == 3 and calls == [3]
    monkeypatch.setattr(module, "trains_together", lambda *_: False)
    retrain_subsets(**{**job, "out": job["out"].with_name("alone")})
    assert calls == [3] and len(weights(job["out"])) == 3
    start = load_file(Path(job["recipe"].base["path"], UNET.removeprefix("pipeline/")))
    for folder in job["out"].glob("set*"):
        one, other = load_file(folder / UNET), load_file(job["out"].with_name("alone") / folder.name / UNET)
        assert one.keys() == other.keys()
        assert max((one[name] - start[name]).abs().max() for name in one) > 1e-3
        assert max((one[name] - other[name]).abs().max() for name in one) < 1e-9
        assert {path.name for path in folder.iterdir()} == {"model.json", "pipeline"}
        facts, others = (
            json.loads((out / folder.name / "model.json").read_text())
            for out in (job["out"], job["out"].with_name("alone"))
        )
        assert facts.keys() == others.keys() and facts["written"] == "moving average"
        assert all(facts[key] == others[key] for key in ("train", "samples", "parameters", "base_digest"))


def test_adapters_are_trained_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = build_base(tmp_path / "base")
    random_samples(8, seed=3).save(tmp_path / "train.safetensors")
    ids = EncodedSamples.load(tmp_path / "train.safetensors").ids
    sets = [(number, name) for number in range(2) for name in ids[number : number + 4]]
    pd.DataFrame(sets, columns=["set", "id"]).to_parquet(tmp_path / "sets.parquet")
    files, pace = (tmp_path / "train.safetensors", tmp_path / "sets.parquet"), TrainingPace("cpu", 9)
    recipe, members = Recipe(base, ADAPTER), Retrainings(BANK, 0, 3)
    monkeypatch.setattr(module, "TOGETHER", 3)
    called = []
    trained = module.train_together
    monkeypatch.setattr(module, "train_together", lambda *given: called.append(len(given[0])) or trained(*given))
    retrain_subsets(*files, recipe, members, tmp_path / "bank", pace)
    assert called == [3]
    monkeypatch.setattr(module, "trains_together", lambda *_: False)
    retrain_subsets(*files, recipe, members, tmp_path / "alone", pace)
    for member in members:
        one, other = (load_file(tmp_path / out / member.name / ADAPTER_FILE) for out in ("bank", "alone"))
        assert one.keys() == other.keys()
        assert max((one[name] - other[name]).abs().max() for name in one) < 1e-4
        assert min(one[name].abs().max() for name in one) > 1e-3


def test_ended_job_goes_on_to_the_same_bytes_and_jobs_may_be_cut(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 2)
    retrain_subsets(**{**job, "retrainings": Retrainings(BANK, 0, 4), "out": job["out"].with_name("whole")})
    job["retrainings"] = Retrainings(BANK, 0, 2)

    class Soon(StopRequest):
        asked = 0

        def due(self) -> str | None:
            self.asked += 1
            return "it is late" if self.asked > 3 else None

    with pytest.raises(UserError, match=r"^Training the 2 models together ends after step 3 of 4, saved, because"):
        retrain_subsets(**{**job, "pace": TrainingPace("cpu", 2, Soon())})
    assert not job["out"].exists()
    retrain_subsets(**job)
    assert not (job["out"].parent / ".resume").exists()
    rest = job["out"].with_name("rest")
    retrain_subsets(**{**job, "retrainings": Retrainings(BANK, 2, 4), "out": rest})
    assert {**weights(job["out"]), **weights(rest)} == weights(job["out"].with_name("whole"))


def test_diverged_one_of_many_is_named(job: dict[str, Any]) -> None:
    encoded = EncodedSamples.load(job["samples"])
    encoded.latents[6] = torch.nan
    encoded.save(job["samples"])
    with pytest.raises(UserError, match=r"^Retraining set0003-0 failed: Training the model: .* add 3 to the bank's ex"):
        retrain_subsets(**job)


@pytest.mark.parametrize(
    ("start", "stop", "exclude", "larger", "sizes"),
    [
        (0, 16, [], None, [8, 8]),
        (1, 17, [], None, [1] * 7 + [8, 1]),
        (0, 16, [0], None, [1] * 6 + [8]),
        (0, 16, [], 5, [8, *[1] * 8]),
    ],
)
def test_whole_groups_of_as_many_steps_are_trained_together(
    job: dict[str, Any], start: int, stop: int, exclude: list[int], larger: int | None, sizes: list[int]
) -> None:
    sets = [(number, f"s{row}") for number in range(9) for row in range(6 if number == larger else 4)]
    bank: Any = {**BANK, "exclude": exclude}
    table = pd.DataFrame(sets, columns=["set", "id"])
    groups = list(
        Bank(EncodedSamples.load(job["samples"]), table, job["recipe"], Retrainings(bank, start, stop)).groups("cpu")
    )
    assert [len(group) for group in groups] == sizes
    assert [member for group in groups for member in group] == list(Retrainings(bank, start, stop))
    assert all(isinstance(member, Member) for group in groups for member in group)


@pytest.mark.parametrize(
    "changed",
    [{"accumulation": 2}, {"precision": "bfloat16"}, {"checkpointing": True}],
    ids=lambda given: next(iter(given)),
)
def test_other_trainings_are_one_after_another(job: dict[str, Any], changed: Mapping[str, Any]) -> None:
    encoded = EncodedSamples.load(job["samples"])
    assert trains_together(job["recipe"], encoded, "cpu")
    model: Any = {**FULL, "train": {**TRAIN, **changed}}
    assert not trains_together(replace(job["recipe"], model=model), encoded, "cpu")


def test_long_steps_are_trained_one_after_another(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST_OPERATIONS", 1e5)
    assert not trains_together(job["recipe"], EncodedSamples.load(job["samples"]), "cpu")
