"""What the plan needs to know about a run, and nothing that must be made first."""

from __future__ import annotations

from typing import Any

from ..catalogue.methods import GRADIENT_METHODS, JOURNEY_CACHE, LISSA_CACHE, TAUGHT_METHODS
from .gradients import SPLITS, checkpoint_step
from .runs import Run
from .tables import Tables
from .values import canonical


def plan_entry(tables: Tables, run: Run) -> dict[str, Any]:
    """Return a run's entry of the plan."""
    model, settings = run.model, run.model.settings
    return canonical(
        {
            "run": run.name,
            "dataset": model.dataset.name,
            "model": model.name,
            "base_name": model.base.name,
            "base": model.base.settings,
            "lora": settings["lora"] if settings["finetune"] == "adapter" else None,
            "size": model.dataset.settings["size"],
            "samples": run.gradients.count("train"),
            "held_out": run.held_out.count,
            "queries": run.queries.count,
            "gradients": run.gradients.settings,
            "widths": run.influence.widths(run.influence.indexed),
            "links": run.influence.settings["hnsw"]["M"],
            "batch": tables.config["compute"]["gradient_batch"],
            "gradient_jobs": gradient_jobs(run),
            "jobs": planned_jobs(run),
            "throughput": tables.config["plan"]["throughput"].get(run.name),
            "own_values": model.own_values and list(model.own_values),
            "passes": further_passes(run),
        }
    )


def further_passes(run: Run) -> list[dict[str, Any]]:
    """Return the passes over regions of queries and for influence maps: how many gradients are stored and evaluated."""
    gradients, passes = run.gradients, []
    for cache in run.regions.caches:
        settings, count = gradients.gradient_settings(cache, "regions"), gradients.count("regions")
        steps = gradients.rows(cache) if checkpoint_step(cache) is None else settings["timesteps"]["count"]
        stored, evaluated = steps, steps * gradients.cache_settings(cache, "regions")["draws"]
        if cache == LISSA_CACHE:
            stored = 1
            evaluated = steps + gradients.options["lissa_products"] * gradients.options["lissa_batch"]
        parts = "tensors" if settings["sketch_kind"] == "blocks" else "one"
        sizes = {"rows": count * stored, "evaluations": count * evaluated, "width": settings["cache_dim"]}
        passes.append({"of": "regions", "parts": parts, **sizes})
    for part in run.maps.parts if "maps" in run.settings else ():
        cache = run.maps.cache(part)
        rows = run.maps.count(part) * gradients.rows(cache)
        draws = gradients.cache_settings(cache, "queries")["draws"]
        sizes = {"rows": rows, "evaluations": rows * draws, "width": int(run.maps.width)}
        passes.append({"of": "maps", "parts": "layers" if part == "layers" else "one", **sizes})
    return passes


def planned_jobs(run: Run) -> int:
    """Return how many jobs make the ranked lists of a run from nothing."""
    influence = run.influence
    # Per source a fetch; assembly, encoding, training and generation; per width and backend an index and a retrieval.
    searches = len(influence.searched) + len(influence.retrieval_inputs["indexes"])
    jobs = len(run.model.dataset.fetched) + 4 + len(influence.made) + searches
    methods = [name for name in influence.scored_methods if name in (*GRADIENT_METHODS, *TAUGHT_METHODS)]
    sketches = influence.sketches(methods) + run.held_out.sketches(methods)
    if sketches:
        jobs += 1 + gradient_jobs(run) + len(sketches)
    if run.regions.scored:
        read = {(cache, v) for method, v in run.regions.scored if v != "full" for cache in run.regions.read_by(method)}
        shards = sum(len(run.gradients.shards(cache, "regions")) for cache in run.regions.caches)
        jobs += 1 + shards + len(read) + len(run.regions.scored)
    if "maps" in run.settings:
        jobs += 2 + sum(len(run.maps.shards(part)) for part in run.maps.parts)
    return jobs + (JOURNEY_CACHE in influence.caches("queries")) + (run.queries.kind in ("classified", "selected"))


def gradient_jobs(run: Run) -> int:
    """Return how many jobs fill the caches of the trained model."""
    asked = (run.gradients.shards(cache, split) for split in SPLITS for cache in run.influence.caches(split))
    return sum(map(len, asked)) + len(run.held_out.shards)
