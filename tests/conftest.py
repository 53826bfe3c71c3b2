"""What holds for every test."""

from __future__ import annotations

import os

import pytest

# Read when torch is imported: tiny tensors gain nothing from threads, and forked children must not inherit a pool.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, and those of the finished run on one, so that it is made once."""
    for item in items:
        shared = "finished" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("finished" if shared else item.path.stem))
