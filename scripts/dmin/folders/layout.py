"""How a local source is laid out: images, tables that name images, or parquet files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..runtime.errors import UserError
from ..runtime.text import shown
from .files import ARCHIVES, METADATA, VIDEOS, UnreadableSourceError, is_hidden, is_image, is_mask, walk
from .tables import TEXT_TABLES

_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
# Shards as data sets on the hub have them: train-00000-of-00002.parquet.
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")
# A folder of sd-scripts, whose images are seen so often in each epoch: 10_subject.
_REPEATED = re.compile(r"(?P<repeats>[1-9]\d{0,3})_(?P<subject>.*\S.*)", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """A local source.

    Attributes:
        root: what files must lie in.
        folder: what paths start from: the root, or the split in it.
        kind: images, tables that name images, or parquet files with images in them.
        files: the images, tables or parquet files, in the order that they are read in.
        images: all images, those too that tables do not name.
        masks: how many pictures were passed over as masks of others.
    """

    root: Path
    folder: Path
    kind: Literal["images", "tables", "parquet"]
    files: Sequence[str]
    images: Sequence[str] = ()
    masks: int = 0

    @property
    def labelled(self) -> bool:
        """Whether images have labels: as in image folders of datasets, several folders at one depth are classes."""
        paths = [PurePosixPath(file) for file in self.files]
        several = len({path.parent.name for path in paths}) > 1
        return self.kind == "images" and several and len({len(path.parts) for path in paths}) == 1

    @property
    def repeats(self) -> list[tuple[int, str]]:
        """What the folders such as ``10_subject`` say, each once, in order; none unless every image lies in one."""
        found = [repeats_of(folder) for folder in self._firsts]
        known = [each for each in found if each is not None]
        return sorted(known) if self.kind == "images" and len(known) == len(found) else []

    @property
    def unrepeated(self) -> str:
        """Why no such folders say how often images are seen, for messages; empty where they do."""
        if self.kind != "images":
            return f"'{shown(self.files[0])}' is a table"
        outside = [file for folder, file in self._firsts.items() if repeats_of(folder) is None]
        return f"the image '{shown(min(outside))}' lies in none" if outside else ""

    @property
    def _firsts(self) -> dict[str, str]:
        """The first file of each folder at the top, and under an empty name of those that lie in none."""
        return {file.partition("/")[0] if "/" in file else "": file for file in reversed(self.files)}

    @property
    def numbered(self) -> bool:
        """Whether such folders are numbered from 1 on without a gap, as classes are and repeats hardly ever."""
        numbers = [number for number, _ in self.repeats]
        return len(numbers) > 1 and numbers == list(range(1, len(numbers) + 1))


def check_repeats(layout: Layout | None) -> None:
    """Refuse a source whose folders are to say how often images are seen, and do not.

    Args:
        layout: None for a source on the hub.

    Raises:
        UserError: the sentence says what it is, or which image lies in no such folder.
    """
    reason = "a data set on the hub has none" if layout is None else layout.unrepeated
    if reason:
        raise UserError(
            f"repeats is folders, but {reason}; set it to a number, or keep every image in a folder such as 10_subject."
        )


def repeats_of(folder: str) -> tuple[int, str] | None:
    """Return how often the images of a folder ``10_subject`` are seen in each epoch, and of what they are."""
    found = _REPEATED.fullmatch(folder)
    return (int(found["repeats"]), found["subject"].strip()) if found else None


def find_layout(path: Path, split: str) -> Layout:
    """Find how a local file or folder, or the folder in it that ``split`` names, is laid out.

    Raises:
        UnreadableSourceError: it has nothing to read, or more than one thing.
        UserError: a link in it leads elsewhere, or an image is no regular file.
        OSError: it cannot be read.
    """
    path = path.absolute()
    if path.is_dir():
        return _folder_layout(path, split)
    if split != "train":
        raise UnreadableSourceError(
            f"a file has no split '{shown(split)}'", "leave split out, and name the split's file"
        )
    kind: Literal["tables", "parquet"] = "tables" if path.suffix in TEXT_TABLES else "parquet"
    return Layout(path.parent, path.parent, kind, [path.name])


def _folder_layout(root: Path, split: str) -> Layout:
    folder = _chosen(root, split)
    files = sorted(walk(folder, root))
    metadata = [file for file in files if PurePosixPath(file).name in METADATA]
    images = [file for file in files if is_image(file)]
    masks = {file for file in images if is_mask(folder / file)}
    images = [file for file in images if file not in masks]
    archives = [file for file in files if file.lower().endswith(ARCHIVES)]
    if archives:
        raise UnreadableSourceError(f"it holds the archive '{shown(archives[0])}'", "unpack it, or move it away")
    tables = [file for file in files if file.endswith(".parquet") and file not in metadata]
    if split != "train" and folder == root and not (tables and not images):
        raise UnreadableSourceError(
            f"it has no folder '{shown(split)}'", "set split to the name of one, or leave it out"
        )
    if metadata:
        if len({PurePosixPath(file).parent for file in metadata}) < len(metadata):
            raise UnreadableSourceError(f"it holds several of {', '.join(METADATA)} in one folder: keep one")
        return Layout(root, folder, "tables", metadata, images)
    if images and tables:
        raise UnreadableSourceError(
            f"it holds images ('{shown(images[0])}') and parquet files ('{shown(tables[0])}')",
            "set path to one of them",
        )
    if images:
        return Layout(root, folder, "images", images, images, len(masks))
    if tables:
        return Layout(root, folder, "parquet", _shards(tables, split))
    raise _nothing(files)


def _nothing(files: Sequence[str]) -> UnreadableSourceError:
    """Return what to say of a folder without images, by what it has instead."""
    for ends, what, fix in (
        (VIDEOS, "the film", "store its pictures as images; films are not read"),
        (TEXT_TABLES, "the table", "set path to it, if it names images"),
        ((".npz", ".safetensors"), "what a trainer keeps of images,", "set path to the folder of the images"),
    ):
        if found := [file for file in files if file.lower().endswith(ends)]:
            return UnreadableSourceError(f"it holds no images, but {what} '{shown(found[0])}'", fix)
    return UnreadableSourceError("it holds neither images nor parquet files")


def _chosen(root: Path, split: str) -> Path:
    """Return the folder that a split names, else the whole.

    ``train`` is the default: it need not be there, and where it may be a class, or metadata beside it name its images,
    it is not taken for a split.
    """
    plain = split not in ("", ".", "..") and "/" not in split and "\0" not in split
    folder = root / split
    if not (plain and folder.is_dir()):
        return root
    if split == "train":
        own = [name for name in METADATA if (root / name).is_file()]
        if own and not any((folder / name).exists() for name in METADATA):
            return root
        others = sorted(
            entry.name
            for entry in root.iterdir()
            if entry.name not in _SPLITS and not is_hidden(entry.name) and _has_images(entry)
        )
        if own or others:
            raise UnreadableSourceError(
                f"it holds the folder 'train' beside '{shown([*own, *others][0])}'",
                "set path to one folder, or rename train to have all of them",
            )
    return folder


def _has_images(entry: Path) -> bool:
    if not entry.is_dir():
        return is_image(entry.name)
    return any(is_image(name) for _, _, names in os.walk(entry) for name in names)


def _shards(files: Sequence[str], split: str) -> list[str]:
    """Return the parquet files of a split where they are named as shards of several; else all of them."""
    found = [_SHARD.fullmatch(PurePosixPath(file).name) for file in files]
    if all(found):
        chosen = [(file, match) for file, match in zip(files, found, strict=True) if match and match["split"] == split]
        if not chosen:
            splits = ", ".join(sorted({match["split"] for match in found if match}))
            raise UnreadableSourceError(f"it has no split '{shown(split)}', but {shown(splits)}")
        counts = {(PurePosixPath(file).parent, int(match["count"])) for file, match in chosen}
        if len(counts) > 1:
            raise UnreadableSourceError(f"it holds several sets of '{shown(split)}' files", "set path to one of them")
        numbers = [match["number"] for _, match in chosen]
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise UnreadableSourceError(
                f"it holds several '{shown(split)}' files of number {twice}", "leave the newest of each number there"
            )
        if len(numbers) < counts.pop()[1]:
            raise UnreadableSourceError(
                f"it holds {len(chosen)} of the '{shown(split)}' files, fewer than their names say",
                "download the others",
            )
        return [file for file, _ in chosen]
    names = [PurePosixPath(file).stem for file in files]
    named = [name for name in names if name in _SPLITS]
    if (len(files) > 1 and named) or split != "train":
        first = f", '{shown(named[0])}' among them" if named else ""
        raise UnreadableSourceError(f"it holds parquet files of its own{first}", "set path to one of them")
    return list(files)
