"""The trainings that are timed, each in a process of its own that takes steps when it is told to."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dmin.models.encoded import EncodedSamples
from dmin.models.load import load_family
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import batch_losses, prepare_parameters, train_model
from dmin.models.training.train_together import train_together
from dmin.models.training.weight_average import WeightAverage
from dmin.retraining.retrain import TOGETHER
from dmin.runtime.deadline import StopRequest
from dmin.runtime.errors import UserError
from dmin.settings.models import Base

ROOT = Path(__file__).resolve().parents[1]
_TRAIN: dict[str, Any] = {
    "seed": 0, "steps": 100_000, "weight_decay": 0.0, "prompt_dropout": 0.1, "accumulation": 1, "checkpointing": False,
    "precision": "float32", "checkpoints": [],
}  # fmt: skip
# The models of config/config.yaml (and, in batches of 16, config/banks.yaml), and of config/lds.yaml.
_ADAPTER: dict[str, Any] = {
    "finetune": "adapter",
    "lora": {"rank": 4, "alpha": 8, "targets": ["to_q", "to_k", "to_v", "to_out.0"]},
    "train": {**_TRAIN, "batch_size": 64, "learning_rate": 1e-2, "warmup_steps": 0, "ema": None},
}
_DDPM: dict[str, Any] = {
    "finetune": "full",
    "train": {**_TRAIN, "batch_size": 16, "learning_rate": 4e-3, "warmup_steps": 50, "ema": 0.98},
}
_SIDE = 1024
MULTIPLICATION = "matrix product"


Build = Callable[[Path, int], TrainingTask]
"""Writes the samples of a training of some number into a folder, and returns it."""


class Turns(StopRequest):
    """Takes so many steps as the other end of a pipe says, and sends the CPU-seconds of each; ends at 0."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe, self._left, self._seconds, self._start = pipe, 0, [0.0] * 0, 0.0

    def due(self) -> str | None:
        """Note that a step ended, and wait for a turn where this one is over; say whether there is none."""
        if self._left:
            self._seconds.append(time.process_time() - self._start)
            self._left -= 1
            if not self._left:
                self._pipe.send(self._seconds)
        if not self._left:
            self._left, self._seconds = self._pipe.recv(), []
        self._start = time.process_time()
        return None if self._left else "all steps are taken"


def start_case(case: str, pipe: Connection) -> None:
    """Run a case in a process of its own, on one thread."""
    logging.disable()
    torch.set_num_threads(1)
    run_case(case, pipe)


def run_case(case: str, pipe: Connection) -> None:
    """Train, or multiply, in the turns that ``pipe`` gives; it first gets how many models, and operations of each."""
    with tempfile.TemporaryDirectory(prefix="dmin-training-") as folder:
        try:
            CASES[case](Path(folder), pipe)
        except UserError:
            # How a training ends that was asked to.
            return


def _plain(build: Build, folder: Path, pipe: Connection) -> None:
    task = build(folder, 0)
    _announce(pipe, task, 1)
    _train_plainly(task, Turns(pipe))


def _alone(build: Build, folder: Path, pipe: Connection) -> None:
    task = build(folder, 0)
    _announce(pipe, task, 1)
    train_model(task, TrainingPace("cpu", 10**9, Turns(pipe)))


def _together(build: Build, folder: Path, pipe: Connection) -> None:
    tasks = [build(folder, number) for number in range(TOGETHER)]
    _announce(pipe, tasks[0], TOGETHER)
    train_together(tasks, TrainingPace("cpu", 10**9, Turns(pipe)), folder / "resume")


def _multiply(_: Path, pipe: Connection) -> None:
    left, right = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    pipe.send({"members": 1, "flop": 2 * _SIDE**3})
    turns = Turns(pipe)
    while not turns.due():
        left @ right


CASES: dict[str, Callable[[Path, Connection], None]] = {
    "adapter, plain": partial(_plain, lambda folder, number: _adapter_task(folder, number, 64)),
    "adapter": partial(_alone, lambda folder, number: _adapter_task(folder, number, 64)),
    "small adapter, plain": partial(_plain, lambda folder, number: _adapter_task(folder, number, 16)),
    "small adapter": partial(_alone, lambda folder, number: _adapter_task(folder, number, 16)),
    "small adapter, together": partial(_together, lambda folder, number: _adapter_task(folder, number, 16)),
    "small DDPM, plain": partial(_plain, lambda folder, number: _ddpm_task(folder, number)),
    "small DDPM": partial(_alone, lambda folder, number: _ddpm_task(folder, number)),
    "small DDPM, together": partial(_together, lambda folder, number: _ddpm_task(folder, number)),
    MULTIPLICATION: _multiply,
}


def _train_plainly(task: TrainingTask, turns: Turns) -> None:
    """Train as PyTorch's defaults do: one optimiser call per tensor, memory as the C library has it."""
    encoded, settings = EncodedSamples.load(task.samples), task.recipe.model["train"]
    family, trained = _prepared(task)
    parameters, average = list(trained.values()), WeightAverage(trained, settings["ema"])
    optimizer = torch.optim.AdamW(parameters, settings["learning_rate"], (0.9, 0.999), weight_decay=0.0)
    for step in _steps(turns):
        for piece in batch_losses(family, encoded, settings, step):
            piece.backward()
            piece.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)


def _steps(turns: Turns) -> Iterator[int]:
    step = 0
    while not turns.due():
        yield step
        step += 1


def _prepared(task: TrainingTask) -> tuple[Any, dict[str, torch.Tensor]]:
    parts = ["denoiser", "untrained"] if task.recipe.full else ["denoiser"]
    family = load_family(task.recipe.base, torch.device("cpu"), parts)
    return family, prepare_parameters(family, task.recipe)


def _announce(pipe: Connection, task: TrainingTask, members: int) -> None:
    """Send how many models are trained, and the floating-point operations of a step of one."""
    family, _ = _prepared(task)
    with FlopCounterMode(display=False) as counter:
        encoded = EncodedSamples.load(task.samples)
        sum(batch_losses(family, encoded, task.recipe.model["train"], 0), torch.zeros(())).backward()
    pipe.send({"members": members, "flop": counter.get_total_flops()})


def _adapter_task(folder: Path, number: int, batch: int) -> TrainingTask:
    generator = torch.Generator().manual_seed(number)
    prompts = torch.randn((513, 32, 128), generator=generator)
    latents = torch.randn((512, 8, 8, 8), generator=generator)
    ids = [f"s/{row}" for row in range(512)]
    samples = EncodedSamples(ids, latents, {"prompt_embeds": prompts[1:]}, {"prompt_embeds": prompts[:1]})
    model: Any = {**_ADAPTER, "train": {**_ADAPTER["train"], "batch_size": batch}}
    return _task(folder / str(number), samples, Recipe(_base("stable_diffusion", "example/base"), model))


def _ddpm_task(folder: Path, number: int) -> TrainingTask:
    latents = torch.randn((245, 1, 16, 16), generator=torch.Generator().manual_seed(number))
    samples = EncodedSamples([f"s/{row}" for row in range(245)], latents, {}, {})
    model: Any = _DDPM
    return _task(folder / str(number), samples, Recipe(_base("ddpm", "architectures/ddpm_mnist_16_v"), model))


def _base(family: str, path: str) -> Base:
    return {"family": family, "path": str(ROOT / "resources" / path), "revision": None}


def _task(folder: Path, samples: EncodedSamples, recipe: Recipe) -> TrainingTask:
    folder.mkdir(exist_ok=True)
    samples.save(folder / "train.safetensors")
    weights = folder / ("pipeline" if recipe.full else "pytorch_lora_weights.safetensors")
    names = ("model.json", "training.csv", "checkpoints", "training_log.parquet")
    return TrainingTask(
        folder / "train.safetensors", recipe, TrainingFiles(weights, *(folder / name for name in names))
    )
