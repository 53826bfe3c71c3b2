"""Hub data sets: loading, repeated attempts and one sentence for every failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from datasets.exceptions import DatasetNotFoundError
from datasets.packaged_modules.parquet import parquet
from hub_refusals import http, http_error
from huggingface_hub import errors as hub_errors
from PIL import Image

from dmin.data import hub
from dmin.data.source import fetch_source
from dmin.runtime.errors import UserError

CONFIG: dict[str, Any] = {
    "path": "owner/irrigated-images",
    "revision": "v1",
    "split": "train",
    "image_column": "image",
    "caption_column": "text",
    "on_empty_caption": "error",
    "trigger": None,
    "label_column": None,
    "labels": None,
    "origin_column": None,
    "rows": None,
    "sample": "first",
    "repeats": None,
    "on_unreadable": "error",
}


def _dataset(count: int = 2) -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(), "guide": datasets.Image(), "text": datasets.Value("string")}
    )
    images = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(count)]
    return datasets.Dataset.from_dict(
        {"image": images, "guide": images, "text": [f"t{i}" for i in range(count)]}, features=features
    )


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Make ``datasets`` raise the given errors in turn, then give a data set; return the list of calls."""
    monkeypatch.setattr(hub, "WAITS", (0.0, 0.0))

    def install(*errors: Exception, result: Any = None) -> list[Any]:
        calls: list[Any] = []

        class Parquet:
            """A builder as ``datasets`` has them."""

            def __init__(self, path: str, **options: Any) -> None:
                self.asked = path, options

            def download_and_prepare(self) -> None:
                """Count the call, or fail."""
                calls.append(self.asked)
                if len(calls) <= len(errors):
                    raise errors[len(calls) - 1]

            def as_dataset(self, split: str) -> Any:
                """Return the data set."""
                self.asked[1]["split"] = split
                return result if result is not None else _dataset()

        Parquet.__module__ = parquet.__name__
        monkeypatch.setattr(datasets, "load_dataset_builder", Parquet)
        return calls

    return install


def test_hub_data_set_is_pinned_and_read(fail: Callable[..., list[Any]], tmp_path: Path) -> None:
    calls = fail()
    fetch_source("flowers", CONFIG, tmp_path / "out.parquet")
    assert calls == [("owner/irrigated-images", {"split": "train", "revision": "v1"})]
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame["prompt"].tolist() == ["t0", "t1"] and frame["image"][0]["bytes"].startswith(b"\x89PNG")


def test_lost_connections_are_tried_again(fail: Callable[..., list[Any]], tmp_path: Path) -> None:
    calls = fail(ConnectionError("reset"), http_error(hub_errors.HfHubHTTPError, 503))
    fetch_source("flowers", CONFIG, tmp_path / "out.parquet")
    assert len(calls) == 3
    calls = fail(*[http.ConnectError("no route")] * 3)
    with pytest.raises(UserError, match="cannot be reached"):
        fetch_source("flowers", CONFIG, tmp_path / "out.parquet")
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            hub_errors.OfflineModeIsEnabled("offline"),
            "the hub cannot be reached for 'owner/irrigated-images' and no copy",
        ),
        (ConnectionError("Couldn't reach 'x' on the Hub (OfflineModeIsEnabled)"), "the hub cannot be reached"),
        (http_error(hub_errors.GatedRepoError, 403), "is gated; accept its conditions on its hub page, then log in"),
        (DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub."), "is gated; accept its conditions"),
        (
            http_error(hub_errors.RevisionNotFoundError, 404),
            "revision 'v1' of the data set 'owner/irrigated-images' does",
        ),
        (
            DatasetNotFoundError("Revision 'v1' doesn't exist for dataset 'x' on the Hub."),
            "revision 'v1' of the data set",
        ),
        (http_error(hub_errors.RepositoryNotFoundError, 401), "is neither a file or folder here nor a data set"),
        (DatasetNotFoundError("Dataset 'owner/irrigated-images' doesn't exist"), "is neither a file or folder here"),
        (
            ValueError("Unknown split \"train\". Should be one of ['test']."),
            "split 'train' of 'owner/irrigated-images'",
        ),
    ],
)
def test_failures_are_told_at_once(
    fail: Callable[..., list[Any]], tmp_path: Path, error: Exception, sentence: str
) -> None:
    calls = fail(*[error] * 3)
    with pytest.raises(UserError) as caught:
        fetch_source("flowers", CONFIG, tmp_path / "out.parquet")
    assert str(caught.value).startswith("Source 'flowers': ") and sentence in str(caught.value)
    assert "\n" not in str(caught.value) and len(calls) == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_errors_keep_their_type(fail: Callable[..., list[Any]], tmp_path: Path) -> None:
    fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fetch_source("flowers", CONFIG, tmp_path / "out.parquet")


def test_cached_copy_of_another_commit_is_refused(fail: Callable[..., list[Any]], tmp_path: Path) -> None:
    cached, pinned = "a" * 40, "b" * 40
    folder = tmp_path / "cache" / cached
    _dataset().save_to_disk(folder)
    copy = datasets.load_from_disk(folder)
    fail(result=copy)
    fetch_source("flowers", CONFIG | {"revision": cached}, tmp_path / "out.parquet")
    with pytest.raises(UserError, match=f"is of commit {cached}, not of revision {pinned}"):
        fetch_source("flowers", CONFIG | {"revision": pinned}, tmp_path / "out.parquet")
