"""The one training loop: optimiser, learning-rate schedule, progress log and resumable state."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from dmin.models.training.pace import TrainingPace
from dmin.models.training.schedule import Optimisation, cosine_rate
from dmin.models.training.state import TrainingState
from dmin.runtime.errors import DivergedError, UserError
from dmin.runtime.heap import keep_freed_memory
from dmin.runtime.sidecar import count_attempt

log = logging.getLogger(__name__)

# Parameters that the optimiser changes at once on a CPU, where PyTorch takes one tensor after another.
MOST_AT_ONCE = 10_000_000


def clip_whole(parameters: Sequence[torch.Tensor]) -> None:
    """Scale the gradient down to a norm of 1."""
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)


@dataclass(frozen=True)
class Minimisation:
    """What a training minimises, and over what.

    Attributes:
        name: of what is trained, for messages.
        parameters: what the optimiser changes.
        loss_at: the loss of a step. It must draw everything random from (seed, step), so that a resumed run equals an
            uninterrupted one. It may return the loss in pieces that add up to it, each differentiated before the next
            is made, which bounds the memory of a large batch. Of several processes, each has its part of the loss.
        tensors: what the saved state keeps: the trained weights and whatever ``after_step`` updates.
        after_step: is called with each finished step.
        log_every: steps that a row of the curve averages over.
        clip: keeps the gradients of a step small.
        fused: whether the optimiser has one kernel do its update, which is fastest and rounds in its own way.
    """

    name: str
    parameters: Sequence[torch.Tensor]
    loss_at: Callable[[int], torch.Tensor | Iterable[torch.Tensor]]
    tensors: Mapping[str, torch.Tensor]
    after_step: Callable[[int], None] | None = None
    log_every: int = 100
    beta1: float = 0.9
    clip: Callable[[Sequence[torch.Tensor]], None] = clip_whole
    fused: bool = False


def fit(
    problem: Minimisation, config: Optimisation, state: TrainingState, pace: TrainingPace
) -> list[dict[str, float]]:
    """Minimise ``problem`` with AdamW, clipped gradients and a cosine schedule.

    The finished state stays until the caller discards it. When ``pace.request`` says so, the state is saved and the
    training ends with an error.

    Returns:
        Rows ``{"step", "loss", "learning_rate"}``, the loss averaged since the row before.

    Raises:
        DivergedError: the loss is not finite.
        UserError: the end was asked for (the step is named), or the last attempts got no further than the saved state.
    """
    keep_freed_memory()
    name, parameters, tensors, processes = problem.name, problem.parameters, problem.tensors, pace.processes
    optimizer = _adamw(problem, config)
    start, (rows, losses) = state.load(optimizer, tensors, ([], []))
    steps, began = config["steps"], time.monotonic()
    if start:
        log.info("%s: resuming at step %d of %d", name, start, steps)
    if start < steps and processes.main:
        count_attempt(state.attempts, start, f"Training the {name}")
    for step in range(start, steps):
        if pace.request is not None and (reason := processes.agree(pace.request.due())):
            if processes.main and step > start and step % pace.save_every:
                state.save(step, optimizer, tensors, (rows, losses))
            raise UserError(
                f"Training the {name} ends after step {step} of {steps}, saved, because {reason}; run again to go on."
            )
        rate = cosine_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = processes.total(_differentiate(problem.loss_at(step)))
        if not math.isfinite(loss):
            raise DivergedError(f"Training the {name}: the loss is {loss} at step {step + 1}; lower learning_rate.")
        processes.sum_gradients(parameters)
        problem.clip(parameters)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if problem.after_step is not None:
            problem.after_step(step)
        losses.append(loss)
        done = step + 1
        if done % problem.log_every == 0 or done == steps:
            rows.append({"step": done, "loss": sum(losses) / len(losses), "learning_rate": rate})
            losses.clear()
            speed = (done - start) / (time.monotonic() - began)
            log.info(
                "%s: step %d of %d, loss %.4f, %.2f steps/s, %.0f s to go",
                name, done, steps, rows[-1]["loss"], speed, (steps - done) / speed,
            )  # fmt: skip
        if processes.main and (done % pace.save_every == 0 or done == steps):
            state.save(done, optimizer, tensors, (rows, losses))
    return rows


def _adamw(problem: Minimisation, config: Optimisation) -> torch.optim.AdamW:
    # The same numbers in half the time where parameters are many and small; it holds a copy of all second moments.
    small = sum(value.numel() for value in problem.parameters) <= MOST_AT_ONCE
    return torch.optim.AdamW(
        problem.parameters,
        config["learning_rate"],
        (problem.beta1, 0.999),
        weight_decay=config["weight_decay"],
        foreach=True if small and not problem.fused else None,
        fused=problem.fused or None,
    )


def _differentiate(given: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """Add the gradients of a loss, whole or in pieces, to the parameters; return its value."""
    loss = 0.0
    for piece in [given] if isinstance(given, torch.Tensor) else given:
        piece.backward()
        loss += piece.item()
    return loss
