"""What every stage of every method costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.catalogue.methods import INDEXABLE
from dmin.evaluation.retrieval_table import searched_method
from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_json

COLUMNS = ["method", "stage", "seconds", "bytes_per_sample", "total_bytes", "peak_memory_bytes", "hardware"]

# Which samples' gradients a stage takes.
SPLITS = {"cache": "train", "query": "queries"}

Facts = Mapping[str, Any]
# What each stage's jobs wrote of themselves, and where.
Stages = Mapping[str, Sequence[tuple[Path, Facts]]]
# The kinds of cache that each method reads, by split: {method: {"train": [...], "queries": [...]}}.
Read = Mapping[str, Mapping[str, Sequence[str]]]


def read_stages(stages: Mapping[str, Sequence[Path]]) -> Stages:
    """Return the contents of the metrics files of each stage, beside their paths."""
    return {stage: [(path, read_json(path)) for path in paths] for stage, paths in stages.items()}


def evaluate_cost(stages: Mapping[str, Sequence[Path]], read_caches: Read, out: Path) -> None:
    """Write the cost table from the metrics files of each stage.

    Stages with a width carry it in their name, as ``compress v=4096``. ``cache`` and ``query`` are the gradients of
    the training samples and of the queries; their bytes are those of sketches and norms, and ``uncompressed`` gives
    the bytes that storing every gradient of the loss in fp32 would take. Seconds are sums over a stage's jobs, and
    over checkpoints where a method reads several. Methods that read one cache each have its rows: it is made once.

    Args:
        stages: metrics files of ``cache, query, compress, index, score, retrieve``.
        read_caches: the kinds of cache that each method reads.
    """
    pairs = read_stages(stages)
    made = {stage: by_cache(pairs[stage]) for stage in SPLITS}
    rows: list[dict[str, Any]] = []
    for stage in SPLITS:
        facts = made[stage]["loss"]
        raw = sum(fact["raw_bytes"] for fact in facts)
        rows.append(_row("uncompressed", stage, facts, raw, sum(fact["samples"] for fact in facts)))
    for method, caches in read_caches.items():
        # A method that was taught reads the gradients of training samples alone.
        for stage, split in SPLITS.items():
            if not caches[split]:
                continue
            facts = [fact for name in caches[split] for fact in made[stage][name]]
            samples = sum(fact["samples"] for fact in made[stage][caches[split][0]])
            rows.append(_row(method, stage, facts, sum(fact["bytes"] for fact in facts), samples))
        for width, facts in by_width(pairs["compress"], caches["train"]).items():
            total = sum(fact["bytes"] for fact in facts)
            rows.append(_row(method, f"compress v={width}", facts, total, facts[0]["samples"]))
    indexed = indexed_method(pairs)
    for path, fact in pairs["index"]:
        rows.append(_row(indexed, f"index v={stage_width(path)}", [fact], fact["bytes"], fact["samples"]))
    for path, fact in pairs["score"]:
        stage = "score" if path.parent.name == fact["method"] else f"score v={stage_width(path)}"
        rows.append(_row(fact["method"], stage, [fact], fact["bytes"], fact["samples"]))
    for path, fact in pairs["retrieve"]:
        rows.append(_row(indexed, f"retrieve v={stage_width(path)}", [fact], None, 1))
    table = pd.DataFrame(rows, columns=COLUMNS)
    # A missing number would turn the whole column into floats.
    write_csv(table.astype({"total_bytes": "Int64"}), out)


def indexed_method(stages: Stages) -> str:
    """Return the method whose sketches the indexes hold, as the searches of these tell."""
    return next((searched_method(path) for path, _ in stages["retrieve"]), INDEXABLE[0])


def by_cache(pairs: Iterable[tuple[Path, Facts]]) -> dict[str, list[Facts]]:
    """Return the facts of the jobs of each kind of cache, whose files lie at ``<kind>/<split>/<job>``."""
    found: dict[str, list[Facts]] = {}
    for path, fact in pairs:
        found.setdefault(path.parts[-3], []).append(fact)
    return found


def by_width(pairs: Iterable[tuple[Path, Facts]], kinds: Sequence[str]) -> dict[str, list[Facts]]:
    """Return the facts of the folds of some kinds of cache by width; their files lie at ``<kind>/v<width>/<split>``."""
    found: dict[str, list[Facts]] = {}
    for path, fact in pairs:
        if path.parts[-3] in kinds:
            found.setdefault(stage_width(path), []).append(fact)
    return found


def stage_width(path: Path) -> str:
    """Return the width, or ``full``, of the stage whose file lies at ``path``."""
    # From the end, because a run may be called v2.
    parts = reversed(path.parts)
    return next(part[1:] for part in parts if part.startswith("v") and (part[1:].isdigit() or part == "vfull"))


def _row(method: str, stage: str, facts: Sequence[Facts], total: int | None, samples: int) -> dict[str, Any]:
    return {
        "method": method,
        "stage": stage,
        "seconds": round(sum(fact["seconds"] for fact in facts), 3),
        "bytes_per_sample": None if total is None else round(total / samples, 1),
        "total_bytes": total,
        "peak_memory_bytes": max(fact["peak_memory_bytes"] for fact in facts),
        "hardware": facts[0]["hardware"],
    }
