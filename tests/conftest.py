"""What holds for every test."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import pytest
from warm import warm_server

# Read when torch is imported: tiny tensors gain nothing from threads, and forked children must not inherit a pool.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")

# What only a test that runs Snakemake asks for.
CHECKOUTS = {"new_checkout", "template"}


def pytest_configure(config: pytest.Config) -> None:
    """Start the warm interpreter once, before the workers; until it is asked for something it imports nothing."""
    if sys.platform == "linux" and not hasattr(config, "workerinput"):
        stack = ExitStack()
        stack.enter_context(warm_server())
        config.add_cleanup(stack.close)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run Snakemake, and begin with their files: the longest first keep both workers busy."""
    longest = set()
    for item in items:
        if isinstance(item, pytest.Function) and CHECKOUTS & set(item.fixturenames):
            item.add_marker("snakemake")
            longest.add(item.path)
    items.sort(key=lambda item: item.path not in longest)
