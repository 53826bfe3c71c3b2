"""Data sets from the Hugging Face hub, with its failures told in terms of the config."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import errors as hub_errors

from dmin.data.hub_errors import error_chain, is_network
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)

# Seconds before the second and third attempt; the hub client itself already repeats single requests.
WAITS = (2.0, 8.0)

_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_hub_dataset(name: str, path: str, split: str, revision: str | None) -> Any:
    """Load one split of a hub data set, from the local cache where it is there.

    Args:
        name: the source's name, for messages.
        path: the hub name, ``owner/name``.
        split: the split to load.
        revision: commit, tag or branch; ``None`` is the newest.

    Returns:
        A ``datasets.Dataset``.

    Raises:
        UserError: the hub is unreachable and nothing is cached, or the data set, revision or split does not exist, or
            the data set is gated.
    """
    for wait in (*WAITS, None):
        try:
            dataset = datasets.load_dataset(path, split=split, revision=revision)
            break
        except Exception as error:
            if wait is None or not _is_transient(error):
                raise _explain(name, path, split, revision, error) from error
            log.warning("source %s: %s: %s; trying again in %g s", name, type(error).__name__, error, wait)
            time.sleep(wait)
    _check_commit(name, path, revision, dataset)
    return dataset


def _check_commit(name: str, path: str, revision: str | None, dataset: Any) -> None:
    """Refuse another commit than the pinned one.

    Without a connection ``datasets`` falls back to the newest cached copy, whatever its revision. The cache folder is
    named after the commit.
    """
    folders = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    commits = sorted(folder for folder in folders if _COMMIT.fullmatch(folder))
    log.info("source %s: commit %s", name, ", ".join(commits) or "unknown")
    if revision and _COMMIT.fullmatch(revision) and commits and commits != [revision]:
        raise UserError(
            f"Source '{name}': the hub cannot be reached, and the cached copy of '{path}' is of commit {commits[0]}, "
            f"not of revision {revision}; connect once, or set revision to the cached commit."
        )


def _is_transient(error: BaseException) -> bool:
    offline = any(isinstance(cause, hub_errors.OfflineModeIsEnabled) for cause in error_chain(error))
    return is_network(error) and not offline and "OfflineModeIsEnabled" not in str(error)


def _explain(name: str, path: str, split: str, revision: str | None, error: Exception) -> Exception:
    """Return a ``UserError`` for a failure of the hub that a user can act on, else the failure itself."""
    where = f"Source '{name}': "
    causes = list(error_chain(error))
    # datasets replaces the hub's exceptions by its own and drops the cause; only the text tells them apart.
    texts = [str(cause) for cause in causes if isinstance(cause, DatasetNotFoundError)]
    if any(isinstance(cause, hub_errors.GatedRepoError) for cause in causes) or any(
        "is a gated dataset" in text for text in texts
    ):
        return UserError(
            f"{where}the data set '{path}' is gated; accept its conditions on its hub page, then log in with "
            "'hf auth login' or set HF_TOKEN."
        )
    if any(isinstance(cause, hub_errors.RevisionNotFoundError) for cause in causes) or any(
        text.startswith("Revision") for text in texts
    ):
        return UserError(
            f"{where}revision '{revision}' of the data set '{path}' does not exist; set revision to a commit, tag or "
            "branch of it, or to null for the newest."
        )
    if texts or any(isinstance(cause, hub_errors.RepositoryNotFoundError) for cause in causes):
        return UserError(
            f"{where}'{path}' is neither a file or folder here nor a data set on the hub; correct path, or log in with "
            "'hf auth login' if it is private."
        )
    if is_network(error):
        return UserError(
            f"{where}the hub cannot be reached for '{path}' and no copy is cached; connect once (and unset "
            "HF_HUB_OFFLINE), or set path to a local parquet file or image folder."
        )
    if isinstance(error, hub_errors.HfHubHTTPError | ValueError | FileNotFoundError):
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return UserError(f"{where}split '{split}' of '{path}' cannot be loaded ({detail}); correct path or split.")
    return error
