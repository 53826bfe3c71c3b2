"""Results at rest: a flipped bit anywhere in a file of any kind, or another file in its place, is never believed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rest_files import KINDS, unread

from dmin.runtime.errors import UserError
from dmin.verify.folders import check_folder

SEED = 20
REGIONS = 24
PER_REGION = 4


def _flips(data: bytes) -> list[bytes]:
    """Return copies of a file with one bit flipped: some in each region, and in each of its first and last bytes."""
    generator = np.random.default_rng(SEED)
    edges = np.linspace(0, len(data), REGIONS + 1).astype(int)
    inner = [generator.integers(low, max(high, low + 1), PER_REGION) for low, high in pairwise(edges)]
    places = sorted({*np.concatenate(inner).tolist(), *range(16), *range(len(data) - 16, len(data))})
    copies = []
    for place in places:
        copy = bytearray(data)
        copy[place] ^= 1 << int(generator.integers(8))
        copies.append(bytes(copy))
    return copies


def _verified(folder: Path) -> set[str]:
    return {status for _, status, _ in check_folder(folder.parent, folder.name, set())}


def _meaning(data: bytes, path: Path) -> Any:
    """Return what a file says, where bytes that say the same are the same file."""
    try:
        return json.loads(data) if path.suffix == ".json" else data
    except ValueError:
        return data


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "samples",
            marks=pytest.mark.attack(
                "rest", "bits flipped in a table of samples", "refused when it is read, or by `verify`"
            ),
        ),
        pytest.param(
            "ranked",
            marks=pytest.mark.attack(
                "rest", "bits flipped in ranked lists", "refused when they are read, or by `verify`"
            ),
        ),
        pytest.param(
            "scores", marks=pytest.mark.attack("rest", "bits flipped in scores", "refused when they are read")
        ),
        pytest.param(
            "score ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of scores", "refused when they are read"),
        ),
        "sketch",
        "index",
        pytest.param(
            "index ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of an index", "refused when they are read"),
        ),
        pytest.param(
            "sketch ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of a sketch", "refused when they are read"),
        ),
        pytest.param(
            "encoded",
            marks=pytest.mark.attack(
                "rest", "bits flipped in encoded samples or queries", "refused when they are read, or by `verify`"
            ),
        ),
        pytest.param(
            "trajectory", marks=pytest.mark.attack("rest", "bits flipped in a trajectory", "refused when it is read")
        ),
        "shard",
        pytest.param(
            "weights", marks=pytest.mark.attack("rest", "bits flipped in weights", "refused when they are loaded")
        ),
        pytest.param(
            "model",
            marks=pytest.mark.attack(
                "rest", "bits flipped in the description of weights", "refused when they are loaded"
            ),
        ),
        pytest.param(
            "table",
            marks=pytest.mark.attack(
                "rest", "bits flipped in a table of results", "refused before it is drawn or joined"
            ),
        ),
        pytest.param("svg", marks=pytest.mark.attack("rest", "bits flipped in a figure", "found by `verify`")),
        "png",
        pytest.param("page", marks=pytest.mark.attack("rest", "bits flipped in the explorer", "found by `verify`")),
    ],
)
def test_flipped_bits_are_never_believed(name: str, tmp_path: Path) -> None:
    kind, folder = KINDS[name], tmp_path / "results"
    folder.mkdir()
    path = kind.make(folder)
    damaged = kind.damaged(path)
    whole, data = kind.read(path), damaged.read_bytes()
    assert _verified(folder) == {"ok"}
    believed, unseen = [], []
    for number, flipped in enumerate(_flips(data)):
        damaged.write_bytes(flipped)
        try:
            if kind.read is not unread and kind.read(path) != whole:
                believed.append(number)
        except UserError as error:
            assert "\n" not in str(error)
        if _verified(folder) == {"ok"} and _meaning(flipped, damaged) != _meaning(data, damaged):
            unseen.append(number)
    assert (believed, unseen) == ([], [])
