"""Which training images are left out to see what an audit's list does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import pandas as pd

from dmin.audit.report import flagged_samples, read_samples_table
from dmin.retraining.removal_names import RANDOM
from dmin.retraining.removals import draw_samples
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_csv

log = logging.getLogger(__name__)

FLAGGED, PLANTED = "flagged", "planted"
# What a removal does is measured by.
LOSS, RECOGNISED = "held_out_loss", "recognised"


class ChoiceSettings(TypedDict):
    """What each set removes, by number (``none, flagged, planted, random``), and the seed of the random ones."""

    removals: Sequence[str]
    seed: int


def choose_audited_removals(
    tables: tuple[Path, Path], planted: Path | None, fdr: float, settings: ChoiceSettings, out: Path
) -> None:
    """Write what each set removes, as :func:`dmin.retraining.removals.write_removals` does, for no query in particular.

    ``flagged`` is what the audit lists to drop; each ``random`` set has as many samples; ``planted`` has every sample
    with a planted fault. A whole subset may go, as the audit would have it.

    Args:
        tables: of training images and of held-out ones; see :func:`dmin.audit.samples.audit_samples`.
        planted: what was planted; None where that is not known, and no set asks for it.
        fdr: the false discovery rate at which the audit lists.

    Raises:
        UserError: a table is torn, or every image is flagged.
    """
    ids = read_samples_table(tables[0])["sample"].tolist()
    flagged = flagged_samples(*tables, fdr)
    if len(flagged) == len(ids):
        raise UserError(
            f"The audit flags all {len(ids)} training images, and without them there is nothing to train on; lower "
            "audit.fdr or leave audit.consequence out."
        )
    rows: list[tuple[int, str, str]] = []
    for number, removal in enumerate(settings["removals"]):
        chosen: Sequence[str] = []
        if removal == FLAGGED:
            chosen = flagged
        elif removal == PLANTED and planted is not None:
            chosen = read_csv(planted, dtype=str, keep_default_na=False)["sample"].tolist()
        elif removal == RANDOM:
            chosen = draw_samples(ids, len(flagged), settings["seed"], "audit", number)
        log.info("set %d, %s: %d of %d samples removed", number, removal, len(chosen), len(ids))
        rows += [(number, "", name) for name in chosen]
    table = pd.DataFrame(rows, columns=["set", "query_id", "id"])
    write_parquet(table.astype({"set": "int64", "query_id": "string", "id": "string"}), out)
