"""Faulty data in a real run: the job says one sentence, on the terminal and in its log, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from checkout import Checkout
from micro_data import caption, picture

from dmin.data.images import encode_png
from dmin.data.samples import read_samples
from dmin.models.load import load_family
from dmin.runtime.errors import UserError

ROWS = 6
IMAGES = [{"bytes": encode_png(picture("red", number)), "path": f"{number}.png"} for number in range(ROWS)]
TORN = [*IMAGES[:2], {"bytes": IMAGES[2]["bytes"][:90], "path": "2.png"}, *IMAGES[3:]]
CAPTIONS = [caption("red", number) for number in range(ROWS)]

# Names that Snakemake takes for wildcards or cannot print.
ODD = ["{wildcards.x}.png", "a <b> {c.png", "*[1]?.png", os.fsdecode(b"caf\xe9.png"), "\x1b[31m\n.png", "a b,'\".png"]

# Source, its table, its settings, and what the sentence must hold.
FAULTS: Mapping[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no_image": ({"picture": IMAGES, "prompt": CAPTIONS}, {}, ["'image'", "set image_column to one of", "picture"]),
    "no_caption": ({"image": IMAGES, "words": CAPTIONS}, {}, ["no captions", "set caption_column to one of", "words"]),
    "torn": ({"image": TORN, "prompt": CAPTIONS}, {}, ["1 unreadable image(s), row 2 (2.png)", "on_unreadable: skip"]),
    "untold": (
        {"image": IMAGES, "prompt": ["", *CAPTIONS[1:5], " "]},
        {},
        ["'prompt' is empty in 2 row(s), row 0 (0.png), row 5 (5.png)", "fill them in"],
    ),
    "short": (
        {"image": IMAGES, "prompt": CAPTIONS, "kind": ["a"] * ROWS},
        {"rows": 9, "label_column": "kind", "labels": ["a"]},
        ["9 rows asked for, 6 found with a label among a", "set rows to 6, or add images"],
    ),
}


@pytest.fixture(scope="module")
def faulty(new_checkout: Callable[[str], Checkout]) -> tuple[Checkout, subprocess.CompletedProcess[str]]:
    """Return a checkout with faulty sources, and the run that was asked to fetch all of them."""
    checkout = new_checkout("faulty")
    sources = []
    cases = {name: (columns, changes) for name, (columns, changes, _) in FAULTS.items()}
    cases["braces"] = ({"image": IMAGES, "prompt": [f"{{wildcards.x}} {text} %s" for text in CAPTIONS]}, {})
    cases["skipped"] = ({"image": TORN, "prompt": CAPTIONS}, {"rows": ROWS - 1, "on_unreadable": "skip"})
    for name, (columns, changes) in cases.items():
        path = f"data/{'{wildcards.source} <results> [1]' if name == 'braces' else name}.parquet"
        pd.DataFrame(columns).to_parquet(checkout.root / path)
        sources.append({"name": name, "path": path, "rows": ROWS} | changes)
    folder = checkout.root / "data" / "odd"
    folder.mkdir()
    for name, image in zip(ODD, IMAGES, strict=False):
        (folder / name).write_bytes(image["bytes"])
    sources.append({"name": "odd", "path": "data/odd", "rows": len(ODD), "caption_column": None})
    cases["odd"] = ({}, {})
    checkout.write_config(yaml.safe_dump({"datasets": {"bad": {"sources": sources}}}))
    targets = [f"results/sources/bad/{name}.parquet" for name in cases]
    return checkout, checkout.snakemake("--cores", "2", "--keep-going", *targets)


@pytest.mark.fault(
    "unreadable images, absent columns, too few rows",
    "one sentence on the console and in the log; nothing half-made is left",
)
@pytest.mark.parametrize("source", FAULTS)
def test_fault_is_told_in_one_sentence(faulty: tuple[Checkout, subprocess.CompletedProcess[str]], source: str) -> None:
    checkout, run = faulty
    log = (checkout.root / "logs" / "fetch_source" / "bad" / f"{source}.log").read_text()
    sentence = log.splitlines()[-1].partition(" ERROR ")[2]
    assert sentence.startswith(f"Source '{source}'")
    assert [part for part in FAULTS[source][2] if part not in sentence] == [], sentence
    # Snakemake may be in the middle of a line of its own.
    assert run.stderr.count(f"Error: {sentence}\n") == 1, run.stderr
    assert not (checkout.root / "results" / "sources" / "bad" / f"{source}.parquet").exists()


def test_no_traceback_is_shown(faulty: tuple[Checkout, subprocess.CompletedProcess[str]]) -> None:
    checkout, run = faulty
    assert run.returncode == 1
    logs = [path.read_text() for path in (checkout.root / "logs").rglob("*.log")]
    assert len(logs) == len(FAULTS) + 3
    assert [text for text in (run.stdout, run.stderr, *logs) if "Traceback" in text] == []


def test_torn_image_is_skipped_on_request(faulty: tuple[Checkout, subprocess.CompletedProcess[str]]) -> None:
    checkout, _ = faulty
    frame = read_samples(checkout.root / "results" / "sources" / "bad" / "skipped.parquet")
    assert frame["prompt"].tolist() == [*CAPTIONS[:2], *CAPTIONS[3:]]
    log = (checkout.root / "logs" / "fetch_source" / "bad" / "skipped.log").read_text()
    assert "skipped unreadable row 2 (2.png)" in log


@pytest.mark.fault("braces, brackets and bytes that are no text in names and captions", "read as they are")
def test_odd_names_and_captions_are_read(faulty: tuple[Checkout, subprocess.CompletedProcess[str]]) -> None:
    checkout, run = faulty
    made = checkout.root / "results" / "sources" / "bad"
    assert (made / "odd.parquet").exists(), run.stderr
    assert sorted(cell["bytes"] for cell in read_samples(made / "odd.parquet")["image"]) == sorted(
        image["bytes"] for image in IMAGES[: len(ODD)]
    )
    assert read_samples(made / "braces.parquet")["prompt"].tolist() == [
        f"{{wildcards.x}} {text} %s" for text in CAPTIONS
    ]


def test_nothing_half_made_is_left(faulty: tuple[Checkout, subprocess.CompletedProcess[str]]) -> None:
    checkout, _ = faulty
    made = {path.name for path in (checkout.root / "results" / "sources" / "bad").iterdir()}
    assert made == {f"{name}{end}" for name in ("skipped", "odd", "braces") for end in (".parquet", ".contents.json")}


def test_absent_base_is_told_in_one_sentence(tmp_path: Path) -> None:
    base = {"family": "stable_diffusion", "path": str(tmp_path / "nowhere"), "revision": None}
    with pytest.raises(UserError, match=r"^Base '.*nowhere' cannot be loaded \(.*\); set path to a folder"):
        load_family(base, torch.device("cpu"), ["denoiser"])
