"""What the plan needs to know about a run, and nothing that must be made first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..catalogue.methods import JOURNEY_CACHE, LISSA_CACHE
from ..runtime.attributed import ADAPTER, WITH_TEXT
from .gradients import SPLITS, Gradients
from .held_out import SPLIT as HELD_OUT
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
            "queries": run.queries.count,
            "gradients": run.gradients.settings,
            "widths": run.influence.widths(run.influence.indexed),
            "links": run.influence.settings["hnsw"]["M"] if "hnsw" in run.influence.backends else None,
            "batch": tables.config["compute"]["gradient_batch"],
            "gradient_jobs": gradient_jobs(run),
            "jobs": planned_jobs(run),
            "throughput": tables.config["plan"]["throughput"].get(run.name),
            "own_values": model.own_values and list(model.own_values),
            "attributed": _attributed(run),
            "own_adapter": model.own_adapter is not None,
            "passes": planned_passes(run),
            "sketches": planned_sketches(run),
        }
    )


def _attributed(run: Run) -> int | None:
    """Return P as files on disk tell it; of an adapter whose names are not PEFT's, as far as it is asked for whole."""
    selection, own = run.gradients.settings["parameters"], run.model.own_values
    if run.attributed is not None or own is None or selection not in (ADAPTER, WITH_TEXT):
        return run.attributed
    return sum(own) if selection == WITH_TEXT else own[0]


def planned_passes(run: Run) -> list[dict[str, Any]]:
    """Return the passes that gradients are evaluated in: of every cache and split, the pilots, regions and maps."""
    passes = [_pass(run.gradients, cache, split) for cache, split in _cached(run)]
    passes += [_part("pilots", evaluations=count) for count in _pilots(run, _cached(run)).values()]
    passes += [_pass(run.gradients, cache, "regions") for cache in run.regions.caches]
    for part in run.maps.parts if "maps" in run.settings else ():
        cache = run.maps.cache(part)
        rows = run.maps.count(part) * run.gradients.rows(cache, "queries")
        draws = run.gradients.cache_settings(cache, "queries")["draws"]
        found = _part("maps", rows, rows * draws, int(run.maps.width))
        passes.append({**found, "parts": "layers" if part == "layers" else "one"})
    return passes


def planned_sketches(run: Run) -> list[dict[str, Any]]:
    """Return the sketches of the run: their width and how many rows they have."""
    methods = run.influence.scored_methods
    return [
        {"v": v, "rows": _pass(run.gradients, cache, split)["rows"]}
        for cache, v, split in run.influence.sketches(methods) + run.held_out.sketches(methods)
    ]


def _cached(run: Run) -> list[tuple[str, str]]:
    """Return every cache with the split that it is of; that of the loss always, for the tables on gradients."""
    checkpoints = run.gradients.checkpoint_caches if run.influence.checkpoint_methods else []
    pairs = [(cache, split) for split in SPLITS for cache in [*run.influence.caches(split), *checkpoints]]
    return pairs + [(cache, HELD_OUT) for cache in run.held_out.caches]


def _pass(gradients: Gradients, cache: str, split: str) -> dict[str, Any]:
    """Return the pass that fills a cache of a split."""
    settings, count = gradients.gradient_settings(cache, split), gradients.count(split)
    steps = gradients.rows(cache, split)
    stored, evaluated = steps, steps * gradients.cache_settings(cache, split)["draws"]
    if cache == LISSA_CACHE:
        stored = 1
        evaluated = steps + gradients.options["lissa_products"] * gradients.options["lissa_batch"]
    return _part(split, count * stored, count * evaluated, settings["cache_dim"]) | {"kept": settings["keep_raw"]}


def _part(of: str, rows: int = 0, evaluations: int = 0, width: int = 0) -> dict[str, Any]:
    return {"of": of, "parts": "one", "rows": rows, "evaluations": evaluations, "width": width, "kept": False}


def _pilots(run: Run, cached: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return what some caches need the scale or the curvature of, by file: evaluations of the pilot."""
    gradients, found = run.gradients, dict[str, int]()
    for cache, _ in cached:
        found |= dict.fromkeys(gradients.scale(cache), gradients.pilot * gradients.timestep_count)
        # A pass for the bases and one for the mean squares in them.
        found |= dict.fromkeys(gradients.curvature(cache), 2 * gradients.curvature_pilot * gradients.timestep_count)
    return found


def planned_jobs(run: Run) -> int:
    """Return how many jobs make the ranked lists of a run from nothing."""
    influence = run.influence
    # Per source a fetch; assembly, encoding, training and generation; per width and backend an index and a retrieval.
    searches = len(influence.searched) + len(influence.retrieval_inputs["indexes"])
    jobs = len(run.model.dataset.fetched) + 4 + len(influence.made) + searches
    read = {(cache, split) for caches in influence.read_caches.values() for split in SPLITS for cache in caches[split]}
    if read:
        shards = sum(len(run.gradients.shards(*pair)) for pair in read) + len(run.held_out.shards)
        jobs += 1 + shards + len(_pilots(run, read)) + len(planned_sketches(run))
    if run.regions.scored:
        read = {(cache, v) for method, v in run.regions.scored if v != "full" for cache in run.regions.read_by(method)}
        shards = sum(len(run.gradients.shards(cache, "regions")) for cache in run.regions.caches)
        jobs += 1 + shards + len(read) + len(run.regions.scored)
    if "maps" in run.settings:
        jobs += 2 + sum(len(run.maps.shards(part)) for part in run.maps.parts)
    return jobs + (JOURNEY_CACHE in influence.caches("queries")) + (run.queries.kind in ("classified", "selected"))


def gradient_jobs(run: Run) -> int:
    """Return how many jobs fill the caches of the trained model and of its checkpoints."""
    return sum(len(run.gradients.shards(*pair)) for pair in _cached(run))
