"""What every stage of every method costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.data.atomic import write_csv

COLUMNS = ["method", "stage", "seconds", "bytes_per_sample", "total_bytes", "peak_memory_bytes", "hardware"]


def evaluate_cost(stages: Mapping[str, Sequence[Path]], out: Path) -> None:
    """Write the cost table from the metrics files of each stage.

    Stages with a width carry it in their name, as ``compress v=4096``. ``cache`` and ``query`` are the gradients of
    the training samples and of the queries; their bytes are those of sketches and norms, and ``uncompressed`` gives
    the bytes that storing every gradient in fp32 would take. Seconds are sums over a stage's jobs.
    """
    read = {stage: [json.loads(path.read_text()) for path in paths] for stage, paths in stages.items()}
    rows: list[dict[str, Any]] = []
    for stage in ("cache", "query"):
        facts = read[stage]
        samples = sum(fact["samples"] for fact in facts)
        rows.append(_row("dmin", stage, facts, sum(fact["bytes"] for fact in facts), samples))
        raw = sum(fact["raw_bytes"] for fact in facts)
        rows.append(_row("uncompressed", stage, facts, raw, samples))
    for stage in ("compress", "index"):
        for path, fact in zip(stages[stage], read[stage], strict=True):
            rows.append(_row("dmin", f"{stage} v={stage_width(path)}", [fact], fact["bytes"], fact["samples"]))
    for path, fact in zip(stages["score"], read["score"], strict=True):
        stage = "score" if path.parent.name == fact["method"] else f"score v={stage_width(path)}"
        rows.append(_row(fact["method"], stage, [fact], fact["bytes"], fact["samples"]))
    for path, fact in zip(stages["retrieve"], read["retrieve"], strict=True):
        rows.append(_row("dmin", f"retrieve v={stage_width(path)}", [fact], None, 1))
    table = pd.DataFrame(rows, columns=COLUMNS)
    # A missing number would turn the whole column into floats.
    write_csv(table.astype({"total_bytes": "Int64"}), out)


def stage_width(path: Path) -> str:
    """Return the width, or ``full``, of the stage whose file lies at ``path``."""
    # From the end, because a run may be called v2.
    parts = reversed(path.parts)
    return next(part[1:] for part in parts if part.startswith("v") and (part[1:].isdigit() or part == "vfull"))


def _row(
    method: str, stage: str, facts: Sequence[Mapping[str, Any]], total: int | None, samples: int
) -> dict[str, Any]:
    return {
        "method": method,
        "stage": stage,
        "seconds": round(sum(fact["seconds"] for fact in facts), 3),
        "bytes_per_sample": None if total is None else round(total / samples, 1),
        "total_bytes": total,
        "peak_memory_bytes": max(fact["peak_memory_bytes"] for fact in facts),
        "hardware": facts[0]["hardware"],
    }
