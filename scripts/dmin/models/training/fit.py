"""The one training loop: optimiser, learning-rate schedule, progress log and resumable state."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from dmin.models.training.processes import ALONE, Processes
from dmin.models.training.state import TrainingState
from dmin.runtime.deadline import StopRequest
from dmin.runtime.errors import DivergedError, UserError
from dmin.runtime.sidecar import count_attempt

log = logging.getLogger(__name__)


def cosine_rate(peak: float, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate at ``step``: linear warm-up to ``peak``, then cosine decay to zero at ``steps``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    name: str,
    parameters: Sequence[torch.Tensor],
    loss_at: Callable[[int], torch.Tensor | Iterable[torch.Tensor]],
    config: Mapping[str, Any],
    state: TrainingState,
    tensors: Mapping[str, torch.Tensor],
    after_step: Callable[[int], None] | None = None,
    request: StopRequest | None = None,
    processes: Processes = ALONE,
) -> list[dict[str, float]]:
    """Minimise ``loss_at(step)`` over ``parameters`` with AdamW, clipped gradients and a cosine schedule.

    ``loss_at`` must draw everything random from (seed, step), so that a run resumed from ``state`` equals an
    uninterrupted one. It may return the loss in pieces that add up to it, each differentiated before the next is made,
    which bounds the memory of a large batch. ``tensors`` is what the state keeps: the trained weights and whatever
    ``after_step`` updates. The finished state stays until the caller discards it. ``request`` is asked before every
    step; when it says so, the state is saved and the training ends with an error. Of several ``processes``, in each of
    which ``loss_at`` gives that process's part of the loss, the main one keeps the state.

    Args:
        config: ``steps``, ``learning_rate``, ``weight_decay``, ``warmup_steps``, ``log_every``, ``save_every``.

    Returns:
        Rows ``{"step", "loss", "learning_rate"}``, the loss averaged since the row before.

    Raises:
        DivergedError: the loss is not finite.
        UserError: ``request`` asked for the end (the step is named), or the last attempts got no further than the saved
            state.
    """
    optimizer = torch.optim.AdamW(parameters, lr=config["learning_rate"], weight_decay=config["weight_decay"])
    start, (rows, losses) = state.load(optimizer, tensors, ([], []))
    steps, began = config["steps"], time.monotonic()
    if start:
        log.info("%s: resuming at step %d of %d", name, start, steps)
    if start < steps and processes.main:
        count_attempt(state.attempts, start, f"Training the {name}")
    for step in range(start, steps):
        if request is not None and (reason := processes.agree(request.due())):
            if processes.main and step > start and step % config["save_every"]:
                state.save(step, optimizer, tensors, (rows, losses))
            raise UserError(
                f"Training the {name} ends after step {step} of {steps}, saved, because {reason}; run again to go on."
            )
        rate = cosine_rate(config["learning_rate"], step, steps, config["warmup_steps"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, given = 0.0, loss_at(step)
        for piece in [given] if isinstance(given, torch.Tensor) else given:
            piece.backward()
            loss += piece.item()
        loss = processes.total(loss)
        if not math.isfinite(loss):
            raise DivergedError(f"Training the {name}: the loss is {loss} at step {step + 1}; lower learning_rate.")
        processes.sum_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after_step is not None:
            after_step(step)
        losses.append(loss)
        done = step + 1
        if done % config["log_every"] == 0 or done == steps:
            rows.append({"step": done, "loss": sum(losses) / len(losses), "learning_rate": rate})
            losses.clear()
            pace = (done - start) / (time.monotonic() - began)
            log.info(
                "%s: step %d of %d, loss %.4f, %.2f steps/s, %.0f s to go",
                name, done, steps, rows[-1]["loss"], pace, (steps - done) / pace,
            )  # fmt: skip
        if processes.main and (done % config["save_every"] == 0 or done == steps):
            state.save(done, optimizer, tensors, (rows, losses))
    return rows
