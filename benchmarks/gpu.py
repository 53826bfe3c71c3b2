"""Measure everything that wants a GPU, in order of worth, within a few minutes.

Usage: ``python benchmarks/gpu.py``. Every figure is written to ``benchmarks/results/gpu.csv`` as soon as it is there
(evaluations per second also to ``gradients.csv``), so that what is measured when time runs out is kept; a stage that
fails leaves the sentence of its error and the next one begins. Weights are random and nothing is downloaded. ``--toy``
runs every stage at a size for a CPU.
"""

from __future__ import annotations

import argparse
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import FrameType

import pandas as pd
import torch
from gpu_scale import Row, Scale, free, sentence

log = logging.getLogger("benchmark")

RESULTS = Path(__file__).resolve().parent / "results"
COLUMNS = ["stage", "model", "variant", "measure", "value", "unit", "device", "error"]
MINUTES = 8.0

Stage = Callable[[Scale], Iterator[Row]]
# In order of worth, with the function of each, imported when its turn comes: a library that one lacks fails that one.
STAGES = {
    "exactness": "gpu_exactness.exactness",
    "evaluations": "gpu_models.evaluations",
    "sketch": "gpu_kernels.sketching",
    "scoring": "gpu_kernels.scoring",
    "training": "gpu_models.training",
    "bank": "gpu_models.bank",
}
# The most of all time that a stage may take, so that long ones leave some to those after them.
SHARES = {"exactness": 0.2, "evaluations": 0.6, "sketch": 0.25, "scoring": 0.25, "training": 0.4, "bank": 1.0}


class OutOfTimeError(BaseException):
    """The time of a stage is over; no error, so that what handles errors lets it pass."""


def main() -> None:
    """Run the stages from the command line."""
    parser = argparse.ArgumentParser(description="Measure everything that wants a GPU, in order of worth.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--toy", action="store_true", help="at a size for a CPU; tells that it runs, not how fast")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    device = torch.device(options.device)
    if device.type != "cuda" and not options.toy:
        parser.error("no GPU is usable here; give --toy to try the stages on the CPU")
    options.out.mkdir(parents=True, exist_ok=True)
    scale = Scale(device, options.toy, options.out)
    run_stages({name: imported(STAGES[name]) for name in options.stages}, scale, 60 * options.minutes)


def imported(place: str) -> Stage:
    """Return the stage ``module.function``, whose module is imported as it begins."""
    module, _, name = place.rpartition(".")

    def stage(scale: Scale) -> Iterator[Row]:
        yield from getattr(import_module(module), name)(scale)

    return stage


def run_stages(stages: Mapping[str, Stage], scale: Scale, seconds: float) -> None:
    """Run stages in turn until ``seconds`` are over, and write every row at once.

    A stage ends when its share of the time is over, an error is raised, or it is done; what it yielded is kept.
    """
    table, end = Table(scale), time.monotonic() + seconds
    for name, stage in stages.items():
        left = min(end - time.monotonic(), SHARES.get(name, 1.0) * seconds)
        if left <= 0:
            # What an earlier run found is worth more than that.
            if not table.holds(name):
                table.write(name, {"error": "not begun: time ran out"})
            continue
        table.clear(name)
        try:
            with TimeLimit(left):
                for row in stage(scale):
                    table.write(name, row)
        except OutOfTimeError:
            table.write(name, {"error": f"stopped after {left:.0f} s"})
        except Exception as error:
            log.warning("%s fails", name, exc_info=True)
            table.write(name, {"error": sentence(error)})
        free(scale.device)


class TimeLimit:
    """Raises :class:`OutOfTimeError` in the block once ``seconds`` are over; a running kernel ends first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError


class Table:
    """``gpu.csv``: rows of other devices are kept, those of a stage that runs again on this one are replaced."""

    def __init__(self, scale: Scale) -> None:
        self.path = scale.out / "gpu.csv"
        self.device = device_label(scale)
        self._rows: list[Row] = pd.read_csv(self.path).to_dict("records") if self.path.exists() else []  # type: ignore[assignment]

    def holds(self, stage: str) -> bool:
        """Tell whether there is a row of a stage on this device."""
        return any((row["stage"], row["device"]) == (stage, self.device) for row in self._rows)

    def clear(self, stage: str) -> None:
        """Drop what is there of a stage on this device."""
        self._rows = [row for row in self._rows if (row["stage"], row["device"]) != (stage, self.device)]

    def write(self, stage: str, row: Row) -> None:
        """Add a row and write the file."""
        log.info(
            "%-12s %s",
            stage,
            " ".join(f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in row.values()),
        )
        self._rows.append({"stage": stage, **row, "device": self.device})
        temporary = self.path.with_suffix(".part")
        pd.DataFrame(self._rows, columns=COLUMNS).to_csv(temporary, index=False, float_format="%.6g")
        temporary.replace(self.path)


def device_label(scale: Scale) -> str:
    """Return the name of the card, or that this is the CPU, with the version of torch."""
    name = torch.cuda.get_device_name(scale.device) if scale.device.type == "cuda" else "CPU"
    return f"{name}{', toy' if scale.toy else ''}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
