"""How fast a device evaluates, trains and samples models of random weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import UNet2DModel
from gpu_scale import Row, Scale, free, row, seconds_of, sentence
from gradient_cases import Case, build_case, read_architecture
from gradients import hardware, merge_rows, time_case

# In order of worth; the first takes seconds.
_MODELS = ("embedded", "ddpm_cifar", "sd3_lora", "sd3_full", "sdxl_lora", "sd14_lora")
_VARIANTS = ["batched", "hooks", "hooks_rolled", "loop", "vmap"]
# Evaluations of the paper's largest study: samples x timesteps.
_PAPER = 46_440
# Of the bank of CIFAR-2 (docs/lds.md): retrainings, their steps, queries and timesteps of the losses.
_MEMBERS, _STEPS, _BATCH, _QUERIES, _TIMESTEPS = 192, 3906, 128, 1900, 1000


def evaluations(scale: Scale) -> Iterator[Row]:
    """Yield evaluations per second of every model and variant, and write them to ``gradients.csv`` too."""
    autocast = torch.bfloat16 if scale.device.type == "cuda" else None
    label = hardware(scale.device, os.cpu_count() or 1, autocast)
    for name in _MODELS[:1] if scale.toy else _MODELS:
        try:
            case = build_case(name, scale.device, Path("random weights"), 4 if scale.toy else None, autocast)
            found = time_case(case, _VARIANTS, 1 if scale.toy else 3, label)
        except Exception as error:
            yield {"model": name, "error": sentence(error)}
            continue
        finally:
            case = None  # type: ignore[assignment]
            free(scale.device)
        merge_rows(scale.out / "gradients.csv", found, ["model", "device"])
        for measured in found.dropna(subset=["evaluations_per_second"]).itertuples():
            rate, variant = float(measured.evaluations_per_second), str(measured.variant)
            yield row(name, variant, "evaluations", rate, "1/s")
            yield row(name, variant, "of the plain pass", float(measured.ratio_to_batched))
            yield row(name, variant, "times the loop", float(measured.ratio_to_loop))
            yield row(name, variant, "peak memory", float(measured.peak_extra_bytes) / 2**30, "GiB")
            yield row(name, variant, f"{_PAPER:,} evaluations", _PAPER / rate / 3600, "h")


def training(scale: Scale) -> Iterator[Row]:
    """Yield steps per second of training and of sampling, plain and in channels-last memory."""
    for name in ("embedded",) if scale.toy else ("ddpm_cifar", "sd3_lora", "sdxl_lora"):
        try:
            autocast = torch.bfloat16 if scale.device.type == "cuda" else None
            case = build_case(name, scale.device, Path("random weights"), 4 if scale.toy else None, autocast)
            yield from _train(case, "plain")
            if case.name != "sd3_lora":
                case.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                yield from _train(case, "channels last")
        except Exception as error:
            yield {"model": name, "error": sentence(error)}
        finally:
            case = None  # type: ignore[assignment]
            free(scale.device)


def _train(case: Case, variant: str) -> Iterator[Row]:
    optimizer = torch.optim.AdamW(case.parameters.values(), 1e-6)

    def step() -> None:
        case.losses(case.model, case.inputs).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def denoise() -> torch.Tensor:
        return case.losses(case.model, case.inputs)

    for measure, call in (("training", step), ("sampling", denoise)):
        taken = seconds_of(call, case.device)
        yield row(case.name, variant, f"{measure}, batch {case.batch}", 1 / taken, "steps/s")
        yield row(case.name, variant, f"{measure}, images", case.batch / taken, "1/s")


def bank(scale: Scale) -> Iterator[Row]:
    """Yield the time of a member of CIFAR-2's bank, training and losses, and of the whole bank."""
    config = read_architecture("ddpm_cifar2/unet")
    if scale.toy:
        config |= {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    torch.manual_seed(0)
    model = UNet2DModel.from_config(config).to(scale.device).eval()
    batch = 4 if scale.toy else _BATCH
    inputs = torch.randn(batch, 3, 32, 32, device=scale.device), torch.zeros(batch, device=scale.device)
    for name, autocast in (("fp32", None), ("bfloat16", torch.bfloat16)):
        case = Case("ddpm_cifar2", model, dict(model.named_parameters()), inputs, 1, autocast)
        for parameter in case.parameters.values():
            parameter.requires_grad_(True)
        rates = {str(found["measure"]): float(found["value"]) for found in _train(case, name)}
        hours = _STEPS * _BATCH / rates["training, images"] / 3600
        losses = _QUERIES * _TIMESTEPS / rates["sampling, images"] / 3600
        yield row("ddpm_cifar2", name, f"a member, {_STEPS:,} steps of {_BATCH}", 60 * hours, "min")
        yield row("ddpm_cifar2", name, "losses of a member", 60 * losses, "min")
        yield row("ddpm_cifar2", name, f"the bank of {_MEMBERS} members", _MEMBERS * (hours + losses), "h")
