"""What the terminal shows of Snakemake's records: few paths, and each mistake once."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from dmin.workflow.terminal import pages, shorten, shorten_reason, shorten_terminal, told

FILES = [f"cache/{number}.safetensors" for number in range(141)]
SENTENCE = "2026-01-01 00:00:00,000 ERROR Source 'a' is empty; fill it.\n"
TRACEBACK = f"{SENTENCE}Traceback (most recent call last)\n"
WRAPPED = "RuleException:\nCalledProcessError in file \"a.smk\", line 2:\nCommand 'x' returned non-zero exit status 1."


@pytest.fixture
def shown() -> tuple[logging.Logger, io.StringIO]:
    """Return a logger with a handler as Snakemake's terminal has it, and what that has written."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.name = "DefaultStreamHandler"
    handler.setFormatter(DefaultFormatter(set(), show_failed_logs=True))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, text


def job(log: Path, **facts: Any) -> dict[str, Any]:
    return {
        "event": LogEvent.JOB_INFO, "rule_name": "score", "rule_msg": None, "local": True, "is_checkpoint": False,
        "jobid": 1, "input": FILES, "output": ["scores.npy"], "log": [str(log)], "benchmark": None, "wildcards": {},
        "reason": f"Missing output files: scores.npy; Input files updated by another job: {', '.join(FILES)}",
        "priority": 0, "threads": 1, "resources": {}, "indent": False,
    } | facts  # fmt: skip


def failure(log: Path) -> dict[str, Any]:
    return job(log, event=LogEvent.JOB_ERROR, conda_env=None, shellcmd=None, aux={})


def test_long_lists_are_counted_and_the_record_stays_whole(
    shown: tuple[logging.Logger, io.StringIO], tmp_path: Path
) -> None:
    logger, text = shown
    kept: list[Any] = []
    logger.addFilter(lambda record: kept.append(record) or True)
    shorten_terminal(logger, lambda: True)
    logger.info(None, extra=job(tmp_path / "a.log"))
    first, by_name = (
        f"cache/0.safetensors, cache/1.safetensors, cache/{name}.safetensors, and 138 more" for name in (2, 10)
    )
    assert f"    input: {first}\n" in text.getvalue()
    assert (
        f"reason: Missing output files: scores.npy; Input files updated by another job: {by_name}\n" in text.getvalue()
    )
    # Other handlers, as those of plugins, get every path.
    assert kept[0].input == FILES


@pytest.mark.parametrize(("log", "local", "repeats"), [
    (SENTENCE, True, False), (SENTENCE, False, True), (TRACEBACK, True, True), ("", True, True),
])  # fmt: skip
def test_sentence_of_a_failed_job_is_shown_once(
    shown: tuple[logging.Logger, io.StringIO], tmp_path: Path, log: str, local: bool, repeats: bool
) -> None:
    logger, text = shown
    path = tmp_path / "a.log"
    path.write_text(log)
    shorten_terminal(logger, lambda: local)
    logger.error(WRAPPED)
    logger.error(None, extra=failure(path))
    assert "RuleException" not in text.getvalue() and f"log: {path}" in text.getvalue()
    assert (f"Logfile {path}" in text.getvalue()) is repeats


def test_short_lists_and_plain_reasons_stay() -> None:
    assert shorten(FILES[:4]) == FILES[:4] and len(shorten(FILES[:5])) == 4
    assert shorten_reason("Code has changed since last execution") == "Code has changed since last execution"


def test_a_log_without_its_sentence_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("2026-01-01 00:00:00,000 INFO step 3\n")
    assert not told(tmp_path / "a.log") and not told(tmp_path / "none.log")


def test_end_of_a_run_names_the_pages_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "explorer.html").touch()
    there = str(tmp_path / "explorer.html")
    assert pages([there, str(tmp_path / "b.html")]) == f"Open in a browser: {there}"
    assert pages([str(tmp_path / "b.html")]) is None


def test_end_of_a_run_names_the_page_of_a_folder(tmp_path: Path) -> None:
    for name in ("explorer_folder", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "explorer_folder" / "index.html").touch()
    told = pages([str(tmp_path / name) for name in ("models", "explorer_folder", "table.csv")])
    assert told == f"Open in a browser: {tmp_path}/explorer_folder/index.html"
