"""What every script does around its one library call: a log file, and user errors without a traceback."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dmin.runtime.errors import UserError, printable
from dmin.runtime.starting import end_imports

log = logging.getLogger(__name__)


class _Printable(logging.Formatter):
    """Writes what a terminal would take for an order as its escape: logs are shown in terminals."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Log to the rule's log file; end with status 1 and one sentence where the user can mend what went wrong.

    Hub access, progress bars and telemetry of the libraries are left to the user's environment, except that bars
    are off: a log file wants lines.
    """
    end_imports()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    _silence_bars()
    handler = logging.FileHandler(snakemake.log[0], mode="w")
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("dmin").setLevel(logging.INFO)
    logging.captureWarnings(True)
    start = time.monotonic()
    try:
        yield
        log.info("finished in %.1f s", time.monotonic() - start)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            log.exception("failed after %.1f s", time.monotonic() - start)
        else:
            sentence = printable(sentence)
            log.error("%s", sentence)
            # One write: jobs share the console, and an end of line of its own may land in another's sentence.
            sys.stderr.write(f"Error: {sentence}\n")
        raise SystemExit(1) from None
    finally:
        root.removeHandler(handler)
        handler.close()


def _silence_bars() -> None:
    """Have libraries that are imported already write no bars, and their warnings to the log alone."""
    for name in ("transformers", "diffusers"):
        library = sys.modules.get(f"{name}.utils.logging")
        if library is not None:
            library.disable_progress_bar()
            library.disable_default_handler()
            library.enable_propagation()


def _sentence(error: Exception) -> str | None:
    """Say what the user can do about an error, or None where it is ours."""
    if isinstance(error, UserError):
        return str(error)
    # safetensors wraps the system's error in one of its own, of which only the text is left.
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):
        return f"The disk is full ({error}); free some space and run again: finished work is kept."
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"'{error.filename}' cannot be written or read ({error.strerror}); give this user the right to, or move it."
        )
    # By name, because most jobs never import torch.
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full; lower the job's batch size (compute, or train.batch_size with accumulation)."
    if isinstance(error, MemoryError):
        return "The memory is full; lower the job's batch size in compute, or give the rule more mem_mb."
    return None
