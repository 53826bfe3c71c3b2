"""The micro run, made once for all tests of the workflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import Checkout, write_template


@pytest.fixture(scope="session")
def new_checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkout]:
    """Return a function that makes a fresh checkout, nothing run in it yet."""
    template = tmp_path_factory.mktemp("template")
    write_template(template)
    return lambda name: Checkout(tmp_path_factory.mktemp(name), template)


@pytest.fixture(scope="session")
def finished(new_checkout: Callable[[str], Checkout]) -> Checkout:
    """Return a checkout in which the micro config has run once."""
    checkout = new_checkout("finished")
    checkout.run()
    return checkout


@pytest.fixture(scope="session")
def results(finished: Checkout) -> Path:
    """Return the results of the micro run."""
    return finished.root / "results" / "runs" / "micro"
