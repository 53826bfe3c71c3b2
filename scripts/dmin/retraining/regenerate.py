"""Generate images again, from their recorded noise, with retrained models."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from dmin.data.samples import read_samples, write_samples
from dmin.models.queries.generate import SizedSampling, generate_images
from dmin.retraining.members import RetrainedModels
from dmin.retraining.removals import choose_in_turn
from dmin.runtime.pace import Pace
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)

COLUMNS = ["id", "set", "repeat", "image"]


class RegenerationSettings(SizedSampling):
    """How images are generated again, and how many: the first ``queries`` of each subset in turn, or None for all."""

    queries: int | None


def regenerate(
    models: RetrainedModels, removed: Path, images: Path, config: RegenerationSettings, out: Path, pace: Pace
) -> None:
    """Write the images that retrained models generate from the prompts and noises of ``images``.

    A set that was removed for a query has that image only; any other has all that are asked for. Columns
    ``id, set, repeat, image``.

    Args:
        removed: see :func:`write_removals`.
        images: the sample table with the columns ``id, prompt, seed`` of what is generated again.
    """
    subset = ["subset"] if config["queries"] is not None else []
    asked = read_samples(images, ["id", "prompt", "seed", *subset])
    if config["queries"] is not None:
        asked = asked.iloc[choose_in_turn(asked["subset"].tolist(), config["queries"])]
    whose = read_parquet(removed).groupby("set")["query_id"].first().to_dict()
    wanted, parts = list(models.retrainings), []
    for place, member in enumerate(wanted):
        query = whose.get(member.set, "")
        rows = asked[asked["id"] == query] if query else asked
        made = generate_images(rows.reset_index(drop=True), models.of(member), config, pace)
        parts.append(made.assign(set=str(member.set), repeat=str(member.repeat))[COLUMNS])
        log.info("%s: %d images, %d of %d", member.name, len(made), place + 1, len(wanted))
    write_samples(pd.concat(parts) if parts else pd.DataFrame(columns=COLUMNS), out)
