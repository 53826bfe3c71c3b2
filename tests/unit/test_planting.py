"""Faults that are planted in a training set, and what tells copies of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.audit.copies import find_copies, thumbnail
from dmin.data.assembled_row import AssembledRow
from dmin.data.assembly import AssembledFiles, assemble_dataset, list_planted
from dmin.data.fingerprints import pixel_digest
from dmin.data.image_facts import file_facts, pixel_facts
from dmin.data.images import encode_png
from dmin.data.planted_images import CHANGES, TRANSFORMS
from dmin.data.planting import FAULTS, plant_faults
from dmin.data.samples import read_samples, sample_pixels, write_samples

SHARES = {
    "swapped_captions": 0.2, "flipped_labels": 0.1, "exact_duplicates": 0.1, "transformed_duplicates": 0.1,
    "foreign": 0.1, "blank": 0.05,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "size": 16,
    "noise": {"fraction": 0.1, "std": 0.1},
    "train_fraction": 0.8,
    "test_sources": [],
    "classes": None,
    "convert_profiles": True,
    "seed": 0,
}


def picture(seed: int, side: int = 16) -> Image.Image:
    """Return a smooth image of its own."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    files = {}
    for place, name in enumerate(("a", "b", "c")):
        images = [{"bytes": encode_png(picture(100 * place + row)), "path": f"{name}{row}.png"} for row in range(50)]
        frame = pd.DataFrame({"image": pd.Series(images, dtype=object), "prompt": [f"{name} {i}" for i in range(50)]})
        files[name] = tmp_path / f"{name}.parquet"
        write_samples(frame.assign(label=None, origin="", repeats=1), files[name])
    return files


def assemble(sources: dict[str, Path], folder: Path, **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables of a data set, by id."""
    files = AssembledFiles(*(folder / name for name in ("train.parquet", "test.parquet", "dataset.json", "pairs.csv")))
    assemble_dataset(sources, CONFIG | changes, files)
    return read_samples(files.train).set_index("id"), read_samples(files.test).set_index("id")


def test_what_is_planted_is_what_is_listed(sources: dict[str, Path], tmp_path: Path) -> None:
    clean, clean_test = assemble(sources, tmp_path / "clean")
    train, test = assemble(sources, tmp_path / "planted", plant=SHARES)
    list_planted(sources, CONFIG | {"plant": SHARES}, tmp_path / "planted.csv")
    planted = pd.read_csv(tmp_path / "planted.csv", keep_default_na=False).set_index("sample")
    rows = (clean["subset"] != "noise").sum()
    counts = planted["fault"].value_counts()
    assert set(counts.index) == set(FAULTS) and planted.index.is_unique
    assert all(counts[name] == int(share * rows) for name, share in SHARES.items() if name != "swapped_captions")
    assert 0.9 * int(0.2 * rows) <= counts["swapped_captions"] <= int(0.2 * rows)
    pd.testing.assert_frame_equal(test, clean_test)
    pixels = dict(zip(train.index, sample_pixels(train), strict=True))
    own = dict(zip(clean.index, sample_pixels(clean), strict=True))
    held_out = dict(zip(test.index, sample_pixels(test), strict=True))
    for sample in clean.index:
        fault, of = planted.loc[sample] if sample in planted.index else ("", "")
        same = np.array_equal(pixels[sample], own[sample])
        assert same == (fault in ("", "swapped_captions", "flipped_labels"))
        assert (train.subset[sample] != clean.subset[sample]) == (fault == "flipped_labels")
        if fault == "swapped_captions":
            assert train.prompt[sample] == clean.prompt[of] and clean.subset[of] != clean.subset[sample]
        if fault == "exact_duplicates":
            assert np.array_equal(pixels[sample], own[of]) and of not in planted.index
        if fault.endswith("duplicates"):
            assert train.prompt[sample] == clean.prompt[of] and train.subset[of] == train.subset[sample]
        if fault == "foreign":
            assert np.array_equal(pixels[sample], held_out[of]) and test.subset[of] != train.subset[sample]
        if fault == "blank":
            assert np.ptp(pixels[sample]) == 0


def test_planting_is_seeded_and_needs_other_subsets(sources: dict[str, Path], tmp_path: Path) -> None:
    tables = []
    for seed in (0, 0, 1):
        list_planted(sources, CONFIG | {"plant": SHARES, "seed": seed}, tmp_path / "planted.csv")
        tables.append((tmp_path / "planted.csv").read_text())
    assert tables[0] == tables[1] != tables[2]


def test_shares_do_not_lose_a_row_to_floating_point() -> None:
    train = [AssembledRow(f"a/{place}", "a", "", None, "", 1, place) for place in range(100)]
    counts = [len(plant_faults(train, [], {"blank": percent / 100}, 0)[1]) for percent in range(61)]
    assert counts == list(range(61))


def test_a_fraction_of_one_leaves_the_test_set_empty(sources: dict[str, Path], tmp_path: Path) -> None:
    train, test = assemble(sources, tmp_path / "out", train_fraction=1)
    assert len(train) == 165 and len(test) == 0


def test_copies_are_told_in_spite_of_what_was_done_to_them() -> None:
    pixels = [np.asarray(picture(seed, 64)) for seed in range(30)]
    done = [np.asarray(CHANGES[change](Image.fromarray(pixels[place]))) for place, change in enumerate(TRANSFORMS)]
    empty = np.full((64, 64, 3), 128, dtype=np.uint8)
    images = [*pixels, *done, pixels[9], empty, empty + 1]
    found = find_copies(np.stack([thumbnail(image) for image in images]), [pixel_digest(image) for image in images])
    told = {place: others for place, others in enumerate(found.places) if others}
    assert told == {place: [30 + place] for place in range(4)} | {30 + place: [place] for place in range(4)}
    assert found.similarity[-2:].tolist() == [0, 0], "what is empty is like nothing"
    assert found.similarity[9] < 0.9, "the same pixels are no changed copy"


def test_facts_of_an_image() -> None:
    grey = np.full((20, 10, 3), 102, dtype=np.uint8)
    assert pixel_facts(grey) == pytest.approx((0.0, 1.0, 0.4, 0.0, 0.0))
    framed = np.zeros((10, 10, 3), dtype=np.uint8)
    framed[2:7, 3:] = np.random.default_rng(0).integers(5, 250, (5, 7, 3))
    facts = pixel_facts(framed)
    assert facts.border == pytest.approx(1 - 35 / 100) and facts.clipped == pytest.approx(0.65)
    sharp, soft = picture(3, 8), picture(3, 8).resize((64, 64), Image.Resampling.BICUBIC)
    assert pixel_facts(np.asarray(sharp)).sharpness > 3 * pixel_facts(np.asarray(soft)).sharpness


def test_facts_of_a_file_are_those_of_its_header() -> None:
    image = Image.new("RGBA", (30, 12), (1, 2, 3, 4))
    assert file_facts(encode_png(image)) == (30, 12, True)
    assert file_facts(encode_png(image.convert("L"))) == (30, 12, False)
