"""The plan's rows of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from dmin.gradients.timesteps import timestep_grid
from dmin.plan import memory
from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.throughput import find_throughput
from dmin.runtime.errors import UserError
from dmin.settings.models import Base, Lora
from dmin.settings.runs import Gradients

Rows = list[dict[str, Any]]

# The paper counts float32 values.
PAPER = 4


class PlannedRun(TypedDict):
    """What the plan needs to know of a run.

    ``run, dataset, model, base_name`` are names; ``lora`` is None for full fine-tuning; ``size`` is in pixels;
    ``samples, held_out, queries`` are counts; ``widths`` are numbers, or ``full``; ``links`` is HNSW's M;
    ``throughput`` is None where it is not stated.
    """

    run: str
    dataset: str
    model: str
    base_name: str
    base: Base
    lora: Lora | None
    size: int
    samples: int
    held_out: int
    queries: int
    gradients: Gradients
    widths: list[str]
    links: int
    batch: int
    gradient_jobs: int
    jobs: int
    throughput: float | None


def estimate_run(run: PlannedRun, shipped: Path, measured: Path) -> tuple[Rows, Rows]:
    """Return the rows of ``plan.csv`` and of ``plan_costs.csv`` of a run, one per width.

    The first count bytes as the paper does: float32, training samples only. The second say what this workflow stores
    (float16 and float32 norms, queries too) and needs.

    Args:
        shipped: config files of known models.
        measured: the benchmark's table of throughputs.

    Raises:
        UserError: the base's architecture is not known, its parameters cannot be selected, or they are fewer than
            ``cache_dim``.
    """
    architecture = read_architecture(run["base_name"], run["base"], shipped)
    gradients = run["gradients"]
    denoiser = MetaDenoiser(architecture, run["lora"], gradients["parameters"])
    weights = denoiser.weight_bytes(run["base"].get("precision") == "bfloat16")
    steps = len(timestep_grid(gradients["timesteps"], run["base"]["family"]))
    parameters, samples = denoiser.attributed, run["samples"]
    if gradients["cache_dim"] > parameters:
        raise UserError(
            f"gradients.cache_dim is {gradients['cache_dim']}, more than the {parameters} attributed parameters; lower "
            "it or select more."
        )
    table: Rows = []
    costs: Rows = []
    shared = _shared_costs(run, denoiser, architecture.latent_shape(run["size"]), steps, measured)
    encoded, drawing = shared["encoded_bytes_per_shard"], shared["map_peak_bytes"]
    hungry = memory.gradient_host_bytes(weights, encoded, drawing)
    for v in run["widths"]:
        width = parameters if v == "full" else int(v)
        table.append(
            {
                "run": run["run"],
                "dataset": run["dataset"],
                "model": run["model"],
                "parameters": parameters,
                "timesteps": steps,
                "samples": samples,
                "v": v,
                "evaluations": samples * steps,
                "uncompressed_bytes_per_sample": PAPER * parameters * steps,
                "bytes_per_sample": PAPER * width * steps,
                "total_bytes": PAPER * width * steps * samples,
            }
        )
        index = 0 if v == "full" else memory.index_bytes(samples, steps * width, run["links"])
        costs.append(
            {
                "run": run["run"],
                "v": v,
                **shared,
                "sketch_bytes": 0 if v == "full" else memory.STORED * width * steps * _rows(run),
                "index_bytes": index,
                # That of the hungriest job.
                "host_bytes": max(hungry, index, memory.scoring_bytes(run["queries"], steps, width)),
            }
        )
    return table, costs


def _rows(run: PlannedRun) -> int:
    """Return how many images gradients are cached of."""
    return run["samples"] + run["held_out"] + run["queries"]


def _shared_costs(
    run: PlannedRun, denoiser: MetaDenoiser, latent: tuple[int, ...], steps: int, measured: Path
) -> dict[str, Any]:
    """Return what does not depend on the width."""
    gradients, parameters = run["gradients"], denoiser.attributed
    samples, width, kind = run["samples"], gradients["cache_dim"], gradients["sketch_kind"]
    evaluations = _rows(run) * steps
    values = memory.Values(
        denoiser.weight_bytes(run["base"].get("precision") == "bfloat16"), parameters, denoiser.largest
    )
    throughput = find_throughput(run["throughput"], parameters, latent, kind, measured)
    per_second = throughput.per_second
    encoded = latent[0] * latent[1] * latent[2] + denoiser.conditioning_values()
    return {
        "base": run["base"]["path"],
        "selection": gradients["parameters"],
        "model_parameters": denoiser.total,
        "evaluations_with_queries": evaluations,
        "uncompressed_total_bytes": PAPER * parameters * steps * samples,
        "stored_dtype": "float16",
        "cache_dim": width,
        "cache_bytes": memory.cache_bytes(_rows(run), steps, width, parameters, gradients["keep_raw"]),
        "encoded_bytes_per_shard": memory.COMPUTED * encoded * min(gradients["shard_size"], samples),
        "map_peak_bytes": memory.map_bytes(parameters, width, kind)[1],
        "gradient_batch": run["batch"],
        "device_bytes": memory.device_bytes(values, denoiser.saved_bytes(run["size"]), gradients, run["batch"]),
        "gradient_jobs": run["gradient_jobs"],
        "jobs": run["jobs"],
        "evaluations_per_second": per_second,
        "throughput": throughput.source,
        "hours": None if per_second is None else evaluations / per_second / 3600,
    }
