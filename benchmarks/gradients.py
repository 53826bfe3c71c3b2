"""Time per-sample gradients and their sketch: variants interleaved in one run, medians, one page.

Usage: ``python benchmarks/gradients.py --models embedded ddpm_cifar``. Rows of the same model and device are replaced
in ``benchmarks/results/*.csv``, other rows are kept, and ``benchmarks/results/README.md`` is written anew.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch
from gradient_cases import CASE_NAMES, Case, build_case, needs_gpu
from gradient_page import write_page
from gradient_precision import gradient_precision
from gradient_sketch_accuracy import sketch_accuracy
from gradient_sketch_speed import sketch_steps
from gradient_variants import VARIANTS, Step
from peak_memory import peak_extra_bytes

log = logging.getLogger("benchmark")

_HERE = Path(__file__).resolve().parent
# Parameters, width and rows of the sketch table: the embedded adapter, the CIFAR DDPM.
_SKETCHES = ((32_768, 16_384, 64), (35_746_307, 65_536, 8))
# Models whose whole gradients fit in memory, on which the sketches' accuracy is measured.
_ACCURACY = ("embedded", "ddpm_cifar")
# Models small enough to be run in fp64 as well.
_PRECISION = ("embedded", "ddpm_cifar")
_MOST_STORED_BYTES = {"cpu": 6 * 2**30, "cuda": 60 * 2**30}


def main() -> None:
    """Run the benchmark from the command line."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.page_only:
        torch.set_num_threads(options.threads)
        device = torch.device(options.device)
        autocast = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[
            options.precision or ("bf16" if device.type == "cuda" else "fp32")
        ]
        label = hardware(device, options.threads, autocast)
        for name in options.models:
            if needs_gpu(name) and device.type != "cuda" and not options.force:
                log.warning("%s needs a GPU: skipped, or give --force", name)
                continue
            case = build_case(name, device, options.pipeline, options.batch, autocast)
            rows = time_case(case, options.variants, options.repeats, label)
            merge_rows(options.out / "gradients.csv", rows, ["model", "device"])
            if name in _PRECISION and options.sketch:
                precision = pd.DataFrame(gradient_precision(case)).assign(device=label.rsplit(",", 1)[0])
                merge_rows(options.out / "precision.csv", precision, ["model", "device"])
            if name in _ACCURACY and options.sketch:
                merge_rows(options.out / "sketch_accuracy.csv", pd.DataFrame(sketch_accuracy(case)), ["model"])
            del case
            gc.collect()
        if options.sketch:
            merge_rows(options.out / "sketch.csv", _time_sketches(device, options.repeats, label), ["device"])
    write_page(options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time per-sample gradients and their sketch.")
    parser.add_argument("--models", nargs="*", choices=CASE_NAMES, default=["embedded", "ddpm_cifar"])
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], help="default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--batch", type=int, help="rows per step; default depends on model and device")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps per variant")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pipeline", type=Path, default=_HERE.parent / "resources/example/base")
    parser.add_argument(
        "--sketch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="time the sketch alone and measure its accuracy",
    )
    parser.add_argument("--force", action="store_true", help="run models meant for a GPU on a CPU")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the tables")
    parser.add_argument("--out", type=Path, default=_HERE / "results")
    return parser.parse_args()


def time_case(case: Case, variants: list[str], repeats: int, label: str) -> pd.DataFrame:
    """Return a row per variant, with rates and ratios empty for one that does not run."""
    steps = {name: step for name in variants if (step := _prepare(case, name)) is not None}
    peaks = {name: peak_extra_bytes(step, case.device) for name, step in steps.items()}
    seconds = interleave(steps, repeats, case.device)
    rate = {name: 1.0 / seconds[name] for name in steps}
    return pd.DataFrame(
        {
            "model": case.name,
            "device": label,
            "variant": name,
            "evaluations_per_second": rate.get(name),
            "ratio_to_batched": _divide(rate, name, "batched"),
            "ratio_to_loop": _divide(rate, name, "loop"),
            "peak_extra_bytes": peaks.get(name),
        }
        for name in variants
    )


def _prepare(case: Case, name: str) -> Step | None:
    """Build a variant and run it once; a variant that does not run is reported and left empty."""
    stored = 4 * case.batch * sum(parameter.numel() for parameter in case.parameters.values())
    if name in ("vmap", "opacus") and stored > _MOST_STORED_BYTES[case.device.type]:
        log.warning("%s, %s: skipped, it would store %.0f GiB of gradients", case.name, name, stored / 2**30)
        return None
    try:
        step = VARIANTS[name](case)
        step()
    except Exception as error:
        log.warning("%s, %s: does not run: %s", case.name, name, str(error).split("\n", 1)[0])
        return None
    return step


def interleave(steps: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Return the median seconds per row of each step; rounds go through all of them in turn."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            rows = step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append((time.perf_counter() - start) / (rows if isinstance(rows, int) else 1))
    for name, values in times.items():
        log.info("%-12s %10.3f ms", name, 1e3 * statistics.median(values))
    return {name: statistics.median(values) for name, values in times.items()}


def _time_sketches(device: torch.device, repeats: int, label: str) -> pd.DataFrame:
    rows = []
    for parameters, width, batch in _SKETCHES:
        steps = sketch_steps(parameters, width, batch, device)
        for step in steps.values():
            step()
        seconds = interleave(steps, repeats, device)
        for method, value in seconds.items():
            rows.append(
                {
                    "device": label,
                    "parameters": parameters,
                    "width": width,
                    "batch": batch,
                    "method": method,
                    "gigabytes_per_second": 4e-9 * parameters * batch / value,
                    "fraction_of_read": seconds["read"] / value,
                }
            )
    return pd.DataFrame(rows)


def _divide(rate: Mapping[str, float], name: str, other: str) -> float | None:
    return rate[name] / rate[other] if name in rate and other in rate else None


def merge_rows(path: Path, rows: pd.DataFrame, keys: list[str]) -> None:
    """Put rows in the place of those of the same keys in a table."""
    if path.is_file():
        kept = pd.read_csv(path)
        fresh = set(rows[keys].itertuples(index=False, name=None))
        kept = kept[[row not in fresh for row in kept[keys].itertuples(index=False, name=None)]]
        rows = pd.concat([kept, rows]) if len(kept) else rows
    rows.to_csv(path, index=False, float_format="%.6g")


def hardware(device: torch.device, threads: int, autocast: torch.dtype | None) -> str:
    """Return the name of the card or processor, and the number format."""
    precision = "fp32" if autocast is None else f"{str(autocast).removeprefix('torch.')} autocast"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].split(":", 1)[1].strip() if names else "CPU"
    return f"{processor}, {threads} thread{'s' if threads > 1 else ''}, {precision}"


if __name__ == "__main__":
    main()
