"""What a run will take, by the plan, and whether this machine has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dmin.doctor.findings import Finding
from dmin.plan.estimate import PlannedRun, estimate_run
from dmin.plan.render import human_bytes, known, text_sentence
from dmin.runtime.attributed import WITH_TEXT


class Machine(NamedTuple):
    """Bytes of memory, and bytes that are free where results go."""

    memory: int
    disk: int


def this_machine(results: Path) -> Machine:
    """Return the memory of the machine, or of the container that runs here, and what is free for ``results``."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        sizes.append(int(text))
    place = results.absolute()
    while not place.exists():
        place = place.parent
    return Machine(min(sizes), shutil.disk_usage(place).free)


def examine_cost(key: str, run: PlannedRun, shipped: Path, measured: Path, machine: Machine) -> Iterator[Finding]:
    """Yield the predicted time, bytes and memory of a run; as faults what this machine lacks.

    Raises:
        UserError: it cannot be planned.
    """
    sizes, costs = estimate_run(run, shipped, measured)
    first, hungriest = costs[0], max(cost["host_bytes"] for cost in costs)
    hours = first["hours"]
    text = first["text_parameters"]
    if text and first["selection"] != WITH_TEXT:
        yield Finding(key, "text encoders", text_sentence(text), "note")
    asked = {"": "evaluations_with_queries", " of regions": "region_evaluations", " of maps": "map_evaluations"}
    counts = ", ".join(f"{first[count]:,} gradients{of}" for of, count in asked.items() if first[count])
    said = f"{counts}, {run['jobs']:,} jobs"
    time = f", {hours:.2g} hours at {first['evaluations_per_second']:.3g} per second" if hours is not None else ""
    unknown = "" if time else ", unknown time: state plan.throughput"
    yield Finding(key, "time", f"{said}{time}{unknown}", "ok" if time else "note")
    disk = (first["cache_bytes"] or 0) + first["region_bytes"] + first["map_bytes"]
    disk += sum(cost["sketch_bytes"] + cost["index_bytes"] for cost in costs)
    sample = ", ".join(f"{known(size['bytes_per_sample'], human_bytes)} at v={size['v']}" for size in sizes)
    if first["cache_bytes"] is None:
        yield Finding(key, "disk", "not known before the adapter is imported, since whole gradients are kept", "note")
    else:
        yield Finding(key, "disk", f"{human_bytes(disk)} ({sample} per sample)")
    yield Finding(key, "memory", f"{human_bytes(hungriest)}, {human_bytes(first['device_bytes'])} of a GPU where used")
    if hungriest > machine.memory:
        sentence = (
            f"{key} needs {human_bytes(hungriest)} of memory by plan, and this machine has "
            f"{human_bytes(machine.memory)}; lower gradients.cache_dim or influence.widths, or run on a larger one."
        )
        yield Finding(key, "memory", sentence, "fault")
    if disk > machine.disk:
        sentence = (
            f"{key} needs {human_bytes(disk)} of disk by plan, and {human_bytes(machine.disk)} are free; free some, or "
            "set gradients.keep_raw to false or lower gradients.cache_dim."
        )
        yield Finding(key, "disk", sentence, "fault")
