"""What LiSSA's curvature changed: how far its answers point away from the plain gradients."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmin.data.subsets import read_subsets
from dmin.gradients.shard import Shard
from dmin.runtime.atomic import write_csv

log = logging.getLogger(__name__)

# A mean cosine above which the answers rank as plain gradients do.
ALIKE = 0.99


def evaluate_lissa(shards: Sequence[Path], queries: Path, out: Path) -> None:
    """Write the cosine of every query's answer h and its gradient v; columns ``query_id,subset,cosine``.

    At 1 LiSSA ranks as the plain gradient does, and its damping is too large. Warns where the mean is above .99.

    Raises:
        UserError: a shard is torn.
    """
    subsets = read_subsets([queries])
    read = [Shard(path) for path in shards]
    rows = [pair for shard in read for pair in zip(shard.ids, shard.read("cosine")[:, 0].tolist(), strict=True)]
    table = pd.DataFrame(rows, columns=["query_id", "cosine"])
    table.insert(1, "subset", table["query_id"].map(subsets))
    write_csv(table, out)
    mean = table["cosine"].mean()
    log.info("cosine of LiSSA's answers and the gradients: %.4f on average of %d queries", mean, len(table))
    if mean > ALIKE:
        log.warning("LiSSA's answers are all but the plain gradients; lower influence.options.lissa_damping.")
