"""What Snakemake prints on the terminal, without hundreds of paths and with each mistake once.

Its own log file, and loggers of plugins, keep everything.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# Paths of a list that are shown before the rest is counted.
SHOWN = 3
_LISTS = ("input", "output")
_SEPARATOR = ", "
# How the names of pages end, and of folders that may be one.
_PAGES = (".html", "")
# What Snakemake adds to the error of a script, whose own sentence stands beside it.
_WRAPPED = re.compile(r"RuleException:\nCalledProcessError in file .*\nCommand .* returned non-zero exit status 1\.\s*")


class Brief(logging.Formatter):
    """Formats as another does, of a record whose lists of files are cut.

    Args:
        whole: the other, Snakemake's own.
        local: tells whether jobs write to this terminal too, so that a log need not repeat their sentence.
    """

    def __init__(self, whole: logging.Formatter, local: Callable[[], bool]) -> None:
        super().__init__()
        self._whole, self._logless, self._local = whole, copy.copy(whole), local
        self._logless.show_failed_logs = False  # type: ignore[attr-defined]

    def format(self, record: logging.LogRecord) -> str:
        brief, facts = copy.copy(record), record.__dict__
        lists = {name: shorten(facts[name]) for name in _LISTS if isinstance(facts.get(name), list | tuple)}
        reason = {"reason": shorten_reason(str(facts["reason"]))} if facts.get("reason") else {}
        brief.__dict__.update(lists | reason)
        failed = hasattr(record, "rule_name") and hasattr(record, "aux")
        repeated = failed and self._local() and all(told(Path(file)) for file in getattr(record, "log", None) or [])
        return (self._logless if repeated else self._whole).format(brief)


def shorten_terminal(logger: logging.Logger, local: Callable[[], bool]) -> None:
    """Have the terminal's handler of Snakemake's logger show its records as :class:`Brief` does."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and handler.formatter:
            handler.setFormatter(Brief(handler.formatter, local))
            handler.addFilter(lambda record: not _WRAPPED.fullmatch(str(record.msg)))


def shorten(files: Sequence[str]) -> list[str]:
    """Return a list of paths as it is shown: whole where it is short, else its first entries and how many more."""
    if len(files) <= SHOWN + 1:
        return list(files)
    return [*files[:SHOWN], f"and {len(files) - SHOWN} more"]


def shorten_reason(reason: str) -> str:
    """Return why a job runs, each of its lists of files, which come in any order, sorted and cut."""
    parts = []
    for part in reason.split("; "):
        name, colon, files = part.partition(": ")
        parts.append(f"{name}{colon}{_SEPARATOR.join(shorten(sorted(files.split(_SEPARATOR))))}" if colon else part)
    return "; ".join(parts)


def told(log: Path) -> bool:
    """Return whether a failed job's log says nothing but the sentence that the job has written to the terminal."""
    try:
        text = log.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return " ERROR " in text and "Traceback (most recent call last)" not in text


def pages(paths: Iterable[str]) -> str | None:
    """Return the line that says where the pages among results are; None where there are none.

    A page is a file of HTML, or a folder with an ``index.html``.
    """
    pages = (path if path.endswith(".html") else f"{path}/index.html" for path in paths if Path(path).suffix in _PAGES)
    there = sorted(path for path in pages if Path(path).is_file())
    if not there:
        return None
    return f"Open in a browser: {_SEPARATOR.join(shorten(there))}"
