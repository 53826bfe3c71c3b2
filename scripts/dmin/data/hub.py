"""Data sets from the Hugging Face hub, with its failures told in terms of the config."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors

from dmin.data.hub_errors import error_chain, is_network
from dmin.data.opened import Opened, Row
from dmin.folders.files import UnreadableSourceError
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)

# Seconds before the second and third attempt; the hub client itself already repeats single requests.
WAITS = (2.0, 8.0)

# The readers of datasets whose formats hold data and nothing else; one of them reads pickles, others run queries.
READERS = ("arrow", "cache", "csv", "imagefolder", "json", "parquet", "text", "webdataset")
# What is decoded of the files in a tar; the others, among them .pth and arrays, stay bytes.
_DECODED = ("txt", "text", "transcript", "cls", "cls2", "index", "inx", "id", "json", "jsn")

_COMMIT = re.compile(r"[0-9a-f]{40}")


def open_hub(name: str, path: str, split: str, revision: str | None) -> Opened:
    """Open one split of a hub data set; arguments and errors as of :func:`load_hub_dataset`."""
    dataset = load_hub_dataset(name, path, split, revision)
    features = dataset.features
    schema = features.arrow_schema

    def read(columns: Sequence[str]) -> Iterator[Row]:
        rows = dataset.select_columns(list(columns))
        for column in columns:
            if isinstance(features[column], datasets.Image):
                rows = rows.cast_column(column, datasets.Image(decode=False))
        try:
            yield from rows
        except DatasetsError as error:
            raise UnreadableSourceError(str(error)) from error

    # Where the hub's files lie on this machine: a cell must not name any other.
    caches = [
        Path(constants.HF_HUB_CACHE, f"datasets--{path.replace('/', '--')}"),
        Path(datasets.config.DOWNLOADED_DATASETS_PATH),
        Path(datasets.config.EXTRACTED_DATASETS_PATH),
    ]
    classes = {
        column: feature.names for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)
    }
    return Opened(dict(zip(schema.names, schema.types, strict=True)), read, caches, classes)


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
            builder = datasets.load_dataset_builder(path, revision=revision)
            _check_reader(name, path, builder)
            builder.download_and_prepare()
            dataset = builder.as_dataset(split=split)
            break
        except UserError:
            raise
        except Exception as error:
            if wait is None or not _is_transient(error):
                raise _explain(name, path, split, revision, error) from error
            log.warning("source %s: %s: %s; trying again in %g s", name, type(error).__name__, error, wait)
            time.sleep(wait)
    _check_commit(name, path, revision, dataset)
    return dataset


def _check_reader(name: str, path: str, builder: Any) -> None:
    """Refuse a data set whose files could do more than hold data, and keep those in tars from being more than bytes."""
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in READERS:
        raise UserError(
            f"Source '{name}': the files of '{path}' are in the format {reader}, which is not read; take another data "
            "set, or store its images in a parquet file."
        )
    WebDataset.DECODERS = {kind: decode for kind, decode in WebDataset.DECODERS.items() if kind in _DECODED}


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
