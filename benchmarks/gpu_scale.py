"""What the stages of the GPU benchmark share."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# Of the columns of ``gpu.csv``: model, variant, measure, value, unit, error.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Scale:
    """Where the stages run, whether at a toy's size, and where they leave further tables."""

    device: torch.device
    toy: bool
    out: Path


def row(model: str, variant: str, measure: str, value: float, unit: str = "") -> Row:
    """Return a row of the table."""
    return {"model": model, "variant": variant, "measure": measure, "value": float(value), "unit": unit}


def sentence(error: BaseException) -> str:
    """Return the first line of an error, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def seconds_of(step: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the median seconds of a step, warmed up once, until the device is done with it."""
    step()
    times = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free(device: torch.device) -> None:
    """Give back what is held and not used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
