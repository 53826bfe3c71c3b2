"""What was found while a source was read, and the sentence that says which rows cannot be taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dmin.runtime.errors import UserError
from dmin.runtime.text import shown
from dmin.settings.models import Source

NAMED = 5  # offending rows that a message names before it only counts


@dataclass
class Tally:
    """What was found while reading."""

    taken: int = 0
    caption_column: str | None = None
    list_captions: int = 0
    long_captions: int = 0
    unreadable: list[str] = field(default_factory=list)
    reason: str = ""
    uncaptioned: list[str] = field(default_factory=list)
    other_labels: dict[str | None, None] = field(default_factory=dict)


def check_tally(name: str, config: Source, tally: Tally) -> None:
    """Refuse what was read of a source.

    Raises:
        UserError: an image is unreadable, a caption is empty, or there are too few rows; all such rows are counted.
    """
    wanted = config["rows"]
    if tally.unreadable and config["on_unreadable"] != "skip":
        reason = f" ({tally.reason})" if tally.reason else ""
        raise UserError(
            f"Source '{name}': {len(tally.unreadable)} unreadable image(s), {enumerate_rows(tally.unreadable)}{reason}"
            f"; replace them{_leaving_out(tally)}."
        )
    if tally.uncaptioned:
        raise UserError(
            f"Source '{name}': caption column '{tally.caption_column}' is empty in {len(tally.uncaptioned)} "
            f"row(s), {enumerate_rows(tally.uncaptioned)}; fill them in, set on_empty_caption: keep, or set "
            "caption_column to another column or null."
        )
    if tally.taken == 0 or (wanted is not None and tally.taken < wanted):
        skipped = f" ({len(tally.unreadable)} unreadable ones left out)" if tally.unreadable else ""
        if tally.reason:
            skipped = f"{skipped[:-1]}: {tally.reason})"
        asked = "all" if wanted is None else wanted
        fix = f"set rows to {tally.taken}, or add images" if tally.taken else "add images"
        if config["labels"] is not None:
            skipped += f" with a label among {', '.join(config['labels'])}"
        if tally.taken == 0 and tally.other_labels:
            fix = f"correct labels, where the column holds {_listed(tally.other_labels)}"
        raise UserError(
            f"Source '{name}': {asked} rows asked for, {tally.taken} found{skipped} in '{config['path']}'; {fix}."
        )


def _leaving_out(tally: Tally) -> str:
    """Say how unreadable images are left out; by ``rows`` too, since no others may be there to take their place."""
    left = tally.taken + len(tally.uncaptioned)
    return f", or set on_unreadable: skip and rows to {left} to leave them out" if left else ""


def _listed(labels: Iterable[str | None]) -> str:
    """Name the first labels that were found."""
    names = ["nothing" if label is None else f"'{shown(label)}'" for label in labels]
    return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")


def enumerate_rows(rows: list[str]) -> str:
    """Name the first rows and count the others."""
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(rows[:NAMED]) + more
