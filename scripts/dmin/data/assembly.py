"""Assembly of a data set: concatenation, noised copies, seeded shuffle and split."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from PIL import Image

from dmin.data.assembled_row import AssembledRow
from dmin.data.buckets import Frame
from dmin.data.duplicates import Duplicates, write_duplicates
from dmin.data.images import decode_image, encode_png, image_to_array, open_image
from dmin.data.noise import add_noise
from dmin.data.planted_images import CHANGES
from dmin.data.planting import Fault, plant_faults
from dmin.data.samples import SampleWriter, iter_samples
from dmin.data.subsets import NOISE_SUBSET
from dmin.runtime.atomic import atomic_path, write_csv, write_json
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import parquet_digest
from dmin.runtime.provenance import versions
from dmin.runtime.seeds import derive_generator, derive_seed
from dmin.settings.models import Assembly

log = logging.getLogger(__name__)

SAMPLE_COLUMNS = ("id", "subset", "prompt", "label", "origin", "repeats", "image")


@dataclass(frozen=True)
class _Plan:
    """All rows of a data set by split, what was planted in them, and the places of the originals that are copied."""

    splits: Mapping[str, Sequence[AssembledRow]]
    originals: Sequence[AssembledRow]
    planted: Sequence[Fault]
    copied: set[int]


def split_counts(rows: int, noise_fraction: float, train_fraction: float) -> tuple[int, int, int]:
    """Return the numbers of noised copies, of all rows and of training rows.

    Fractions count as the decimals they are written as: 0.29 of 100 rows is 29, which floating point would floor to 28.
    """
    copies = math.floor(Fraction(str(noise_fraction)) * rows)
    total = rows + copies
    return copies, total, math.floor(Fraction(str(train_fraction)) * total)


@dataclass(frozen=True)
class AssembledFiles:
    """What an assembly makes: the table of each split, a summary, and the table of duplicates."""

    train: Path
    test: Path
    summary: Path
    duplicates: Path


def assemble_dataset(sources: Mapping[str, Path], config: Assembly, files: AssembledFiles) -> None:
    """Write the training and the test table of a data set, its summary and what is in it twice.

    Sources are concatenated in the order of the mapping. Every image is decoded once to ``size x size`` pixels, or to
    the bucket of its shape, and stored as PNG; rows of one shape are neighbours, so that batches are of one shape.
    ``split_counts`` fixes the numbers of noised copies and, unless ``test_sources`` name the test set, of training
    rows; which rows are copied and the order are drawn from ``seed``, the noise of a copy from (``seed``, id of its
    original).

    Faults that ``plant`` asks for are in the training table alone (:func:`dmin.data.planting.plant_faults`).

    Args:
        sources: source parquet files by name.
        config: ``classes`` are the labels that are the subsets, or null where each source is a subset; the rows of
            ``test_sources`` are the test set, and copies are of the other rows.
        files: parquet files of both splits, columns ``id, subset, prompt, label, origin, repeats, image{bytes,path}``;
            JSON with ``fingerprint, size, seed, counts`` (per split and subset), the config, the order of the sources
            in it, digests of the sources and of both tables, and versions; and CSV with the columns of
            :mod:`dmin.data.duplicates`, a row for each image that repeats an earlier one.

    Raises:
        UserError: a source name is reserved, a file is damaged, an image unreadable, a label is not among the classes,
            or a split lacks a subset.
    """
    _check_names(sources)
    frame, seed = Frame(config["size"], config.get("bucket_step")), config["seed"]
    plan = _plan(sources, config)
    copied = plan.copied
    std = config["noise"]["std"]
    fingerprint, duplicates = hashlib.blake2b(digest_size=16), Duplicates()
    train, test = files.train, files.test
    shapes: list[tuple[int, int]] = []
    with ExitStack() as stack:
        spool = stack.enter_context(_Spool(train.parent))
        for place, (sample_id, data) in enumerate(_read_images(sources)):
            image = decode_image(data, sample_id, frame, profiles=config["convert_profiles"])
            shapes.append(image.size)
            duplicates.add(place, spool.add((place, False), image), image)
            if place in copied:
                spool.add((place, True), add_noise(image, std, derive_generator(seed, NOISE_SUBSET, sample_id)))
        splits = {split: sorted(rows, key=lambda row: shapes[row.original]) for split, rows in plan.splits.items()}
        for split, path in (("train", train), ("test", test)):
            temporary = stack.enter_context(atomic_path(path))
            with SampleWriter(temporary, SAMPLE_COLUMNS) as writer:
                for row in splits[split]:
                    if row.change:
                        spool.change(row.original, row.change)
                    png, digest = spool.read((row.original, row.change or row.subset == NOISE_SUBSET))
                    _update(fingerprint, split, row.id, row.prompt, digest)
                    if row.repeats > 1:
                        _update(fingerprint, f"repeats {row.repeats}")
                    writer.append(_cells(row, png))
    counts = {split: dict(Counter(row.subset for row in part)) for split, part in splits.items()}
    facts: dict[str, Any] = {"fingerprint": fingerprint.hexdigest(), "size": frame.size, "seed": seed, "counts": counts}
    if frame.step:
        used = Counter(shapes[row.original] for rows in splits.values() for row in rows)
        facts["buckets"] = {f"{width}x{height}": count for (width, height), count in sorted(used.items())}
    facts["config"] = {**config, "sources": list(sources)}
    facts["made_from"] = {name: parquet_digest(path) for name, path in sources.items()}
    facts["tables"] = {"train": parquet_digest(train), "test": parquet_digest(test)}
    write_json({**facts, "versions": versions()}, files.summary)
    split_of = {row.id: split for split, part in splits.items() for row in part}
    write_duplicates(duplicates, plan.originals, split_of, files.duplicates)
    numbers = {split: len(part) for split, part in splits.items()}
    log.info(
        "%d rows: %d train, %d test, %d noised copies, %d planted faults",
        sum(numbers.values()),
        *numbers.values(),
        len(copied),
        len(plan.planted),
    )


def list_planted(sources: Mapping[str, Path], config: Assembly, out: Path) -> None:
    """Write what :func:`assemble_dataset` plants; columns ``sample,fault,of``.

    The table is of the choice alone, which is made again, so that no step before it can read it.

    Raises:
        UserError: as :func:`assemble_dataset`.
    """
    planted = [(fault.sample, fault.fault, fault.of) for fault in _plan(sources, config).planted]
    write_csv(pd.DataFrame(planted, columns=["sample", "fault", "of"]), out)


def _plan(sources: Mapping[str, Path], config: Assembly) -> _Plan:
    """Return what the tables will hold, without the images.

    Raises:
        UserError: a source is torn, a label is not among the classes, or a split lacks a subset.
    """
    rows, cut, tested = _plan_rows(sources, config)
    order = np.random.default_rng(derive_seed(config["seed"], "shuffle")).permutation(len(rows))
    if tested:
        order = np.concatenate([[i for i in order if i not in tested], [i for i in order if i in tested]])
    train, test = [rows[i] for i in order[:cut]], [rows[i] for i in order[cut:]]
    # Nothing is held out where every image is ranked.
    whole = config["train_fraction"] == 1 and not tested
    _check_splits(config["classes"] or list(sources), {"train": train} if whole else {"train": train, "test": test})
    planted: list[Fault] = []
    if "plant" in config:
        train, planted = plant_faults(train, test, cast(Mapping[str, float], config["plant"]), config["seed"])
    copied = {row.original for row in rows if row.subset == NOISE_SUBSET}
    return _Plan({"train": train, "test": test}, rows, planted, copied)


class _Spool:
    """Encoded images on disk by key, so that a shuffled data set of any size is written in little memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._entries: dict[tuple[int, bool | str], tuple[int, int, bytes]] = {}

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, key: tuple[int, bool | str], image: Image.Image) -> bytes:
        """Store an image as PNG with a digest of its pixels, which does not depend on the PNG encoder; return it."""
        pixels = image_to_array(image)
        digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
        png = encode_png(image)
        self._entries[key] = (self._file.seek(0, os.SEEK_END), len(png), digest)
        self._file.write(png)
        return digest

    def change(self, place: int, change: str) -> None:
        """Store a changed copy of the original at a place under the name of the change."""
        png, _ = self.read((place, False))
        self.add((place, change), CHANGES[change](open_image(png, f"image {place}")))

    def read(self, key: tuple[int, bool | str]) -> tuple[bytes, bytes]:
        """Return the PNG bytes and the pixel digest."""
        start, length, digest = self._entries[key]
        self._file.seek(start)
        return self._file.read(length), digest


def _check_names(sources: Mapping[str, Path]) -> None:
    if not sources:
        raise UserError("The data set has no sources; list at least one under sources.")
    for name in sources:
        if name == NOISE_SUBSET:
            raise UserError(f"Source '{name}' has the name of the noised copies; rename the source.")
        if not name or set(name) & set("/+"):
            raise UserError(f"Source '{name}' has '/' or '+' in its name, which sample ids use; rename the source.")


def _plan_rows(sources: Mapping[str, Path], config: Assembly) -> tuple[list[AssembledRow], int, set[int]]:
    """Return all rows before the shuffle, originals first, the number of training rows, and the places of test rows."""
    rows: list[AssembledRow] = []
    tested: set[int] = set()
    for name in sources:
        for number, row in enumerate(iter_samples(sources[name], ("prompt", "label", "origin", "repeats"))):
            subset = _subset(name, number, row["label"], config["classes"])
            words = (row["prompt"], row["label"], row["origin"])
            rows.append(AssembledRow(f"{name}/{number}", subset, *words, row["repeats"], len(rows)))
            if name in config["test_sources"]:
                tested.add(len(rows) - 1)
    copied = [place for place in range(len(rows)) if place not in tested]
    copies, _, cut = split_counts(len(copied), config["noise"]["fraction"], config["train_fraction"])
    generator = np.random.default_rng(derive_seed(config["seed"], "noise copies"))
    for place in sorted(copied[drawn] for drawn in generator.choice(len(copied), copies, replace=False)):
        row = rows[place]
        rows.append(replace(row, id=f"{row.id}+noise", subset=NOISE_SUBSET, origin=row.id))
    return rows, len(rows) - len(tested) if tested else cut, tested


def _subset(source: str, number: int, label: str | None, classes: Sequence[str] | None) -> str:
    """Return the subset of a row: its label where the data set has classes, else its source."""
    if classes is None:
        return source
    if label is None or label not in classes:
        raise UserError(
            f"Source '{source}' has the label '{label}' in row {number}, which the data set's classes do not list; add "
            "it to classes, or set label_column to the column of the classes."
        )
    return label


def _check_splits(subsets: Sequence[str], splits: Mapping[str, Sequence[AssembledRow]]) -> None:
    for split, part in splits.items():
        missing = sorted(set(subsets) - {row.subset for row in part})
        if missing:
            raise UserError(
                f"Subset '{missing[0]}' has no row in the {split} split ({len(part)} rows in all); give it more rows "
                "or change train_fraction."
            )


def _read_images(sources: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
    for name in sources:
        for number, row in enumerate(iter_samples(sources[name], ("image",))):
            yield f"{name}/{number}", row["image"]["bytes"]


def _cells(row: AssembledRow, png: bytes) -> dict[str, Any]:
    return {
        "id": row.id,
        "subset": row.subset,
        "prompt": row.prompt,
        "label": row.label,
        "origin": row.origin,
        "repeats": row.repeats,
        "image": {"bytes": png, "path": None},
    }


def _update(digest: Any, *parts: str | bytes) -> None:
    """Add parts with their lengths, so that no two lists of parts read the same."""
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
