"""Fixtures shared by the tests of models, gradients and scores: a tiny random Stable-Diffusion-shaped pipeline."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The config entry of the tiny pipeline, saved in the diffusers format."""
    from tiny_pipeline import build_base  # here, so that tests of data and figures start fast

    return build_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_base: Mapping[str, Any]) -> Path:
    """The weights of a random adapter with r=4, alpha=8 whose output is not zero."""
    from tiny_pipeline import build_adapter

    return build_adapter(tiny_base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="session")
def tiny_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five encoded samples with random latents and conditioning."""
    from tiny_pipeline import random_samples

    path = tmp_path_factory.mktemp("samples") / "train.safetensors"
    random_samples(5).save(path)
    return path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser for the tests of a module, which are skipped by their file where none is installed."""
    program = find_chromium()
    assert program is not None
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small file system with")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
