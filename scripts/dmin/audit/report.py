"""The audit as files: a table of issues, its summary, and lists of what to keep and what to drop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.audit.findings import Audited, Found, IssueSettings, LeftOut
from dmin.audit.issues import ISSUES
from dmin.data.subsets import NOISE_SUBSET
from dmin.runtime.atomic import atomic_path, write_csv, write_json
from dmin.runtime.errors import printable
from dmin.runtime.readers import read_csv

log = logging.getLogger(__name__)

COLUMNS = ["sample", "file", "subset", "issue", "strength", "p_value", "low", "high", "evidence"]
# What is to be looked at, and says nothing against an image by itself.
_TO_LOOK_AT = ("too influential", "never learned", "memorised")
# Of copies the first is kept.
_COPIES = ("duplicate", "near duplicate", "near duplicate across subsets")


@dataclass(frozen=True)
class AuditFiles:
    """Where an audit goes: the issues, their summary, and the files to keep and to drop, one a line."""

    issues: Path
    summary: Path
    keep: Path
    drop: Path


def write_audit(samples: Path, held_out: Path, settings: IssueSettings, files: AuditFiles) -> None:
    """Write every issue of every training image, the strongest of each issue first.

    The summary says how many images have each issue, how many of them are found at the false discovery rate
    (``controlled``), and which issues are ``left_out``, and why. The list to drop has images with an issue that
    removing mends, found at that rate, and of copies all but the first. A noised copy has no file, so it is in neither
    list.

    Args:
        samples, held_out: what :func:`dmin.audit.samples.audit_samples` wrote.

    Raises:
        UserError: a table is torn.
    """
    given = Audited(read_samples_table(samples), read_samples_table(held_out), settings)
    found, left_out = _issues(given)
    for name, reason in left_out.items():
        log.warning("%s is left out: %s", name, reason)
    filed = given.train["subset"] != NOISE_SUBSET
    rows = [row for name, issue in found.items() for row in _rows(name, issue, given.train)]
    write_csv(pd.DataFrame(rows, columns=COLUMNS), files.issues)
    dropped = _dropped(found, given.train)
    summary: dict[str, Any] = {
        "images": len(given.train),
        "held_out": len(given.held_out),
        "fdr": settings["fdr"],
        "issues": {
            name: {"images": int(issue.has.sum()), "controlled": int(issue.controlled.sum())}
            for name, issue in found.items()
        },
        "left_out": left_out,
        "dropped": int((dropped & filed).sum()),
    }
    write_json(summary, files.summary)
    for path, chosen in ((files.keep, ~dropped & filed), (files.drop, dropped & filed)):
        with atomic_path(path) as temporary:
            lines = [f"{printable(name, '')}\n" for name in given.train["file"][chosen]]
            temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
    log.info("%d of %d images have an issue that removing them mends", int(dropped.sum()), len(dropped))


def flagged_samples(samples: Path, held_out: Path, fdr: float) -> list[str]:
    """Return the samples whose files :func:`write_audit` lists to drop, and noised copies for which there is the same
    reason, in the order of the table.

    Args:
        fdr: the false discovery rate that is borne. The confidence of intervals drops none.

    Raises:
        UserError: a table is torn.
    """
    given = Audited(read_samples_table(samples), read_samples_table(held_out), {"fdr": fdr, "confidence": 0.95})
    return [str(name) for name in given.train["sample"][_dropped(_issues(given)[0], given.train)]]


def _issues(given: Audited) -> tuple[dict[str, Found], dict[str, str]]:
    """Return the issues that can be told, and why each other one cannot."""
    found: dict[str, Found] = {}
    left_out: dict[str, str] = {}
    for name, issue in ISSUES.items():
        try:
            found[name] = issue(given)
        except LeftOut as reason:
            left_out[name] = str(reason)
    return found, left_out


def read_samples_table(path: Path) -> pd.DataFrame:
    """Read a table of samples, whose texts may be empty or look like numbers.

    Raises:
        UserError: the table is torn.
    """
    texts = ("sample", "subset", "prompt", "file", "closest_query", "better_caption", "copies", "near_copies")
    return read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=_missing(path, texts))


def _missing(path: Path, texts: tuple[str, ...]) -> dict[str, list[str]]:
    """Return, for every column of numbers, that an empty cell is missing; an empty text is a text."""
    names = read_csv(path, nrows=0).columns
    return {name: [""] for name in names if name not in texts and not name.endswith("_neighbours")}


def _rows(name: str, found: Found, train: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    places = np.flatnonzero(found.has)
    for place in places[np.argsort(-found.strength[places], kind="stable")].tolist():
        row = train.iloc[place]
        numbers = (found.strength[place], found.p_value[place], found.low[place], found.high[place])
        yield (row["sample"], row["file"], row["subset"], name, *numbers, found.evidence(place))


def _dropped(found: dict[str, Found], train: pd.DataFrame) -> np.ndarray:
    dropped = np.zeros(len(train), dtype=bool)
    for name, issue in found.items():
        if name not in (*_TO_LOOK_AT, *_COPIES):
            dropped |= issue.controlled
    # In the order of the table: an image goes whose copy is kept already.
    kept: set[str] = set()
    for place, row in enumerate(zip(train["sample"], train["copies"], train["near_copies"], strict=True)):
        name, *copies = row
        if kept.intersection(" ".join(copies).split()):
            dropped[place] = True
        elif not dropped[place]:
            kept.add(name)
    return dropped
