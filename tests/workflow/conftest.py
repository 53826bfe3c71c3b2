"""The micro run, made once for all tests of the workflow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import Checkout, write_template
from filelock import FileLock


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of the session have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def new_checkout(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkout]:
    """Return a function that makes a fresh checkout, nothing run in it yet."""
    template = shared / "template"
    with FileLock(shared / "template.lock"):
        if not template.exists():
            part = tmp_path_factory.mktemp("template")
            write_template(part)
            part.rename(template)
    return lambda name: Checkout(tmp_path_factory.mktemp(name), template)


@pytest.fixture(scope="session")
def finished(
    shared: Path, new_checkout: Callable[[str], Checkout], tmp_path_factory: pytest.TempPathFactory
) -> Checkout:
    """Return a checkout in which the micro config has run once; one run serves all workers, each in a copy of it."""
    made = shared / "made"
    with FileLock(shared / "made.lock"):
        if not made.exists():
            maker = new_checkout("maker")
            maker.run()
            maker.root.rename(made)
    return Checkout(tmp_path_factory.mktemp("finished"), made)


@pytest.fixture
def micro_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder where the files that the micro config names exist; their content does not matter."""
    monkeypatch.chdir(tmp_path)
    images = [f"data/blue/{number:03d}.png" for number in range(24)]
    for path in ("data/red.parquet", "data/green.parquet", *images):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


@pytest.fixture(scope="session")
def results(finished: Checkout) -> Path:
    """Return the results of the micro run."""
    return finished.root / "results" / "runs" / "micro"
