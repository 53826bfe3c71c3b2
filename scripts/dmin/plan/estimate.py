"""The plan's rows of one run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypedDict

from dmin.gradients.timesteps import timestep_grid
from dmin.plan import memory
from dmin.plan.architecture import Architecture, read_architecture, text_bytes
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.throughput import find_throughput
from dmin.runtime.attributed import ADAPTER, WITH_TEXT
from dmin.runtime.errors import UserError
from dmin.settings.models import Base, Lora
from dmin.settings.runs import Gradients

Rows = list[dict[str, Any]]

# The paper counts float32 values.
PAPER = 4
# Passes with columns of their own.
FURTHER = ("regions", "maps")


class Pass(TypedDict):
    """A pass over gradients of one kind.

    ``of`` is a split (``train``, ``queries``, ``test`` or ``regions`` of queries), ``pilots``, which store nothing, or
    ``maps`` of influence, whose gradients are temporary; ``rows`` are stored at a ``width``: one sketch each, or one
    for each group of ``layers``, as ``parts`` says, and with the whole gradient where it is ``kept``.
    """

    of: str
    parts: str
    rows: int
    evaluations: int
    width: int
    kept: bool


class Sketch(TypedDict):
    """A cache of a split that is folded to the width ``v``; ``rows`` are its gradients."""

    v: str
    rows: int


class PlannedRun(TypedDict):
    """What the plan needs to know of a run.

    ``run, dataset, model, base_name`` are names; ``lora`` is None for full fine-tuning; ``size`` is in pixels;
    ``samples, queries`` are counts; ``widths`` are numbers, or ``full``; ``links`` is HNSW's M, None without an index;
    ``throughput`` is None where it is not stated; ``own_values`` are those of an own adapter in the denoiser and in
    text encoders, None where there is none or it is not on disk; ``attributed`` is P where files on disk tell it;
    ``own_adapter`` says whether the adapter is a user's, so that ``lora`` does not tell P.
    """

    run: str
    dataset: str
    model: str
    base_name: str
    base: Base
    lora: Lora | None
    size: int
    samples: int
    queries: int
    gradients: Gradients
    widths: list[str]
    links: int | None
    batch: int
    gradient_jobs: int
    jobs: int
    throughput: float | None
    own_values: list[int] | None
    attributed: int | None
    own_adapter: bool
    passes: list[Pass]
    sketches: list[Sketch]


def estimate_run(run: PlannedRun, shipped: Path, measured: Path) -> tuple[Rows, Rows]:
    """Return the rows of ``plan.csv`` and of ``plan_costs.csv`` of a run, one per width.

    The first count bytes as the paper does: float32, training samples only. The second say what this workflow stores
    (float16 and float32 norms, queries too) and needs. What hangs on P is None where only the import of an own adapter
    tells it; memory is then that of an adapter as ``lora`` has it.

    Args:
        shipped: config files of known models.
        measured: the benchmark's table of throughputs.

    Raises:
        UserError: the base's architecture is not known, its parameters cannot be selected, or they are fewer than
            ``cache_dim``.
    """
    architecture = read_architecture(run["base_name"], run["base"], shipped)
    gradients = run["gradients"]
    denoiser = _planned(run, architecture)
    steps = len(timestep_grid(gradients["timesteps"], run["base"]["family"]))
    parameters, samples = _attributed(run, denoiser), run["samples"]
    if parameters is not None and gradients["cache_dim"] > parameters:
        raise UserError(
            f"gradients.cache_dim is {gradients['cache_dim']}, more than the {parameters} attributed parameters; lower "
            "it or select more."
        )
    table: Rows = []
    costs: Rows = []
    shared = _shared_costs(run, denoiser, architecture.latent_shape(run["size"]), steps, measured)
    encoded, drawing = shared["encoded_bytes_per_shard"], shared["map_peak_bytes"]
    hungry = memory.gradient_host_bytes(_weight_bytes(run, denoiser), encoded, drawing)
    hungry = max(hungry, shared["map_host_bytes"])
    for v in run["widths"]:
        width = parameters if v == "full" else int(v)
        held = denoiser.attributed if width is None else width
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
                "uncompressed_bytes_per_sample": _times(parameters, PAPER * steps),
                "bytes_per_sample": _times(width, PAPER * steps),
                "total_bytes": _times(width, PAPER * steps * samples),
            }
        )
        index = 0 if v == "full" else _index_bytes(run, steps * held)
        costs.append(
            {
                "run": run["run"],
                "v": v,
                **shared,
                "sketch_bytes": _sketch_bytes(run, [v]),
                "index_bytes": index,
                # That of the hungriest job.
                "host_bytes": max(hungry, index, memory.scoring_bytes(run["queries"], steps, held)),
            }
        )
    return table, costs


def _planned(run: PlannedRun, architecture: Architecture) -> MetaDenoiser:
    try:
        return MetaDenoiser(architecture, run["lora"], run["gradients"]["parameters"])
    except UserError:
        if not run["own_adapter"]:
            raise
        # Of a user's adapter, ``lora`` has neither the kind nor the layers.
        return MetaDenoiser(architecture, run["lora"], ADAPTER)


def _attributed(run: PlannedRun, denoiser: MetaDenoiser) -> int | None:
    """Return P, as files on disk tell it, else by the denoiser; None for an own adapter that neither tells."""
    if run["attributed"] is not None or run["own_adapter"]:
        return run["attributed"]
    return denoiser.attributed


def _times(values: int | None, each: int) -> int | None:
    return None if values is None else values * each


def _weight_bytes(run: PlannedRun, denoiser: MetaDenoiser) -> int:
    """Return the bytes of a gradient job's networks: the denoiser, and text encoders where these are attributed."""
    half = run["base"].get("precision") == "bfloat16"
    text = text_bytes(run["base"], half) if run["gradients"]["parameters"] == WITH_TEXT else 0
    return denoiser.weight_bytes(half) + text


def _index_bytes(run: PlannedRun, dimension: int) -> int:
    return 0 if run["links"] is None else memory.index_bytes(run["samples"], dimension, run["links"])


def _sketch_bytes(run: PlannedRun, widths: Collection[str]) -> int:
    """Return the bytes of all sketches at some widths."""
    return sum(memory.STORED * int(part["v"]) * part["rows"] for part in run["sketches"] if part["v"] in widths)


def _cache_bytes(run: PlannedRun, parameters: int | None) -> int | None:
    """Return the bytes of all caches, and of sketches at widths of their own, as those of tensors.

    None where whole gradients are kept and P is not known.
    """
    if parameters is None and any(part["kept"] for part in run["passes"]):
        return None
    own = {part["v"] for part in run["sketches"]} - {*run["widths"]}
    return _sketch_bytes(run, own) + sum(
        memory.cache_bytes(part["rows"], 1, part["width"], parameters or 0, part["kept"])
        for part in run["passes"]
        if part["of"] not in FURTHER
    )


def _shared_costs(
    run: PlannedRun, denoiser: MetaDenoiser, latent: tuple[int, ...], steps: int, measured: Path
) -> dict[str, Any]:
    """Return what does not depend on the width."""
    gradients, parameters = run["gradients"], _attributed(run, denoiser)
    samples, width, kind = run["samples"], gradients["cache_dim"], gradients["sketch_kind"]
    evaluations = sum(part["evaluations"] for part in run["passes"])
    further = {of: [part for part in run["passes"] if part["of"] == of] for of in FURTHER}
    counts = {of: sum(part["evaluations"] for part in parts) for of, parts in further.items()}
    sizes = {
        of: sum(
            memory.part_bytes(part["rows"] * denoiser.parts(part["parts"]), part["width"], single=of == "maps")
            for part in parts
        )
        for of, parts in further.items()
    }
    held = denoiser.attributed if parameters is None else parameters
    values = memory.Values(_weight_bytes(run, denoiser), held, denoiser.largest)
    throughput = find_throughput(run["throughput"], parameters, latent, kind, measured)
    per_second = throughput.per_second
    encoded = latent[0] * latent[1] * latent[2] + denoiser.conditioning_values()
    return {
        "base": run["base"]["path"],
        "selection": gradients["parameters"],
        "model_parameters": denoiser.total,
        "text_parameters": None if run["own_values"] is None else run["own_values"][1],
        "evaluations_with_queries": evaluations - sum(counts.values()),
        "region_evaluations": counts["regions"],
        "map_evaluations": counts["maps"],
        "region_bytes": sizes["regions"],
        "map_bytes": sizes["maps"],
        # Read in single precision, and four times over while scores are split.
        "map_host_bytes": 4 * sizes["maps"],
        "uncompressed_total_bytes": _times(parameters, PAPER * steps * samples),
        "stored_dtype": "float16",
        "cache_dim": width,
        "cache_bytes": _cache_bytes(run, parameters),
        "encoded_bytes_per_shard": memory.COMPUTED * encoded * min(gradients["shard_size"], samples),
        "map_peak_bytes": memory.map_bytes(held, width, kind)[1],
        "gradient_batch": run["batch"],
        "device_bytes": memory.device_bytes(values, denoiser.saved_bytes(run["size"]), gradients, run["batch"]),
        "gradient_jobs": run["gradient_jobs"],
        "jobs": run["jobs"],
        "evaluations_per_second": per_second,
        "throughput": throughput.source,
        "hours": None if per_second is None else evaluations / per_second / 3600,
    }
