"""Generate images again, from their recorded noise, with retrained models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.data.samples import read_samples, write_samples
from dmin.models.queries.generate import generate_images
from dmin.retraining.removals import choose_in_turn
from dmin.retraining.retrain import members, weights_name

log = logging.getLogger(__name__)

COLUMNS = ["id", "set", "repeat", "image"]


def regenerate(
    folder: Path,
    removed: Path,
    images: Path,
    base: Mapping[str, Any],
    finetune: str,
    bank: Mapping[str, Any],
    config: Mapping[str, Any],
    span: tuple[int, int],
    out: Path,
    device: str,
    batch: int,
) -> None:
    """Write the images that the retrainings ``span`` generate from the prompts and noises of ``images``.

    A set that was removed for a query has that image only; any other has all that are asked for. Columns
    ``id, set, repeat, image``.

    Args:
        folder: see :func:`retrain_subsets`.
        removed: see :func:`write_removals`.
        images: the sample table with the columns ``id, prompt, seed`` of what is generated again.
        bank: ``seeds`` and ``exclude``.
        config: ``steps`` and ``guidance`` of sampling, and ``queries``: how many images are asked for, the first of
            each subset in turn, or None for all.
    """
    subset = ["subset"] if config["queries"] is not None else []
    asked = read_samples(images, ["id", "prompt", "seed", *subset])
    if config["queries"] is not None:
        asked = asked.iloc[choose_in_turn(asked["subset"].tolist(), config["queries"])]
    whose = pd.read_parquet(removed).groupby("set")["query_id"].first().to_dict()
    wanted, parts = list(members(*span, bank["seeds"], bank["exclude"])), []
    for place, member in enumerate(wanted):
        query = whose.get(member.set, "")
        rows = asked[asked["id"] == query] if query else asked
        weights = folder / member.name / weights_name(finetune)
        made = generate_images(rows.reset_index(drop=True), weights, base, config, device, batch)
        parts.append(made.assign(set=str(member.set), repeat=str(member.repeat))[COLUMNS])
        log.info("%s: %d images, %d of %d", member.name, len(made), place + 1, len(wanted))
    write_samples(pd.concat(parts) if parts else pd.DataFrame(columns=COLUMNS), out)
