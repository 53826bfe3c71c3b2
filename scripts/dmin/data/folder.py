"""A local folder as a source: images with their classes or metadata, or parquet files. Every name is taken as it is."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from dmin.data.metadata import METADATA, open_metadata
from dmin.data.opened import Opened, Row, UnreadableSourceError, open_parquet
from dmin.data.outside import real_inside
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

log = logging.getLogger(__name__)

# Files that are meant to be images; those that are not read are named when their turn comes, and not lost in silence.
_IMAGES = {
    ".apng", ".avif", ".bmp", ".dib", ".dds", ".emf", ".eps", ".gif", ".heic", ".heif", ".icns", ".ico", ".j2c",
    ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".pbm", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".ps", ".psd", ".sgi", ".tga", ".tif", ".tiff", ".webp", ".wmf", ".xbm", ".xpm",
}  # fmt: skip
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".7z", ".rar")
_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
# Shards as data sets on the hub have them: train-00000-of-00002.parquet.
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")


def open_folder(root: Path, split: str) -> Opened:
    """Open a folder, or the folder in it that ``split`` names.

    Images are read with what ``metadata.csv``, ``.jsonl`` or ``.parquet`` says of them; without such a file in the
    order of their paths, and the folders that they lie in are their ``label`` where there are several at one depth.
    Files of other kinds are passed over, and so are hidden ones.

    Raises:
        UnreadableSourceError: it has nothing to read, or more than one thing.
        UserError: a link in it leads elsewhere, or an image is no regular file.
    """
    folder = _chosen(root, split)
    files = sorted(_walk(folder, root))
    metadata = [file for file in files if PurePosixPath(file).name in METADATA]
    images = [file for file in files if PurePosixPath(file).suffix.lower() in _IMAGES]
    archives = [file for file in files if file.lower().endswith(_ARCHIVES)]
    if archives:
        raise UnreadableSourceError(f"it holds the archive '{shown(archives[0])}'", "unpack it, or move it away")
    tables = [file for file in files if file.endswith(".parquet") and file not in metadata]
    if split != "train" and folder == root and not (tables and not images):
        raise UnreadableSourceError(
            f"it has no folder '{shown(split)}'", "set split to the name of one, or leave it out"
        )
    if metadata:
        return open_metadata(folder, metadata, root, images)
    if images and tables:
        raise UnreadableSourceError(
            f"it holds images ('{shown(images[0])}') and parquet files ('{shown(tables[0])}')",
            "set path to one of them",
        )
    if images:
        return _open_images(folder, images, root)
    if tables:
        return open_parquet([folder / file for file in _shards(tables, split)], root)
    raise UnreadableSourceError("it holds neither images nor parquet files")


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
            if entry.name not in _SPLITS and not _hidden(entry.name) and _has_images(entry)
        )
        if own or others:
            raise UnreadableSourceError(
                f"it holds the folder 'train' beside '{shown([*own, *others][0])}'",
                "set path to one folder, or rename train to have all of them",
            )
    return folder


def _has_images(entry: Path) -> bool:
    if not entry.is_dir():
        return entry.suffix.lower() in _IMAGES
    return any(Path(name).suffix.lower() in _IMAGES for _, _, names in os.walk(entry) for name in names)


def _walk(folder: Path, root: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder that are not hidden, and refuse links that lead out of the root."""
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if _hidden(entry.name):
                    continue
                relative = path.relative_to(folder).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif entry.is_symlink() and path.is_dir():
                    raise UserError(
                        f"'{shown(relative)}' is a link to a folder, which is not followed; copy the folder there, or "
                        "set path to it."
                    )
                elif path.suffix.lower() in _IMAGES or entry.name in METADATA or path.suffix == ".parquet":
                    _check_file(path, root)
                    yield relative
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield relative


def _check_file(path: Path, root: Path) -> None:
    real = real_inside(path, [root])
    if real.exists() and not real.is_file():
        raise UserError(f"'{shown(str(path))}' is a pipe, a device or the like, and not a file; remove it.")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _open_images(folder: Path, files: Sequence[str], root: Path) -> Opened:
    paths = [PurePosixPath(file) for file in files]
    # As in image folders of datasets: several folders at one depth are classes.
    labels, depths = {path.parent.name for path in paths}, {len(path.parts) for path in paths}
    labelled = len(labels) > 1 and len(depths) == 1

    def read(columns: Sequence[str]) -> Iterator[Row]:
        for file, path in zip(files, paths, strict=True):
            row = {"image": {"bytes": None, "path": str(folder / file)}, "label": path.parent.name}
            yield {column: row[column] for column in columns}

    return Opened(dict.fromkeys(("image", "label") if labelled else ("image",)), read, [root])


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
