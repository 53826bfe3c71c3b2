"""The files of a folder: what is an image, what is passed over, and where files must lie."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..runtime.errors import UserError
from ..runtime.text import shown

# Files that are meant to be images; those that are not read are named when their turn comes, and not lost in silence.
IMAGES = {
    ".apng", ".avif", ".bmp", ".dib", ".dds", ".emf", ".eps", ".gif", ".heic", ".heif", ".icns", ".ico", ".j2c",
    ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".pbm", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".ps", ".psd", ".sgi", ".tga", ".tif", ".tiff", ".webp", ".wmf", ".xbm", ".xpm",
}  # fmt: skip
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".7z", ".rar")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CAPTIONS = (".txt", ".caption")

# Folders that macOS, Synology, QNAP and Windows leave with thumbnails, forks and what was deleted.
_LEFT_BEHIND = {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"}
# What OneTrainer has beside an image: masks and conditions.
_MASKS = ("-masklabel", "-condlabel")


class UnreadableSourceError(ValueError):
    """A folder or file that no rows can be read from.

    Attributes:
        fix: what to do; empty for what is always said.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.fix = fix


def is_local(path: str) -> bool:
    """Tell whether a path of the config stands for files here; otherwise it names something on the hub."""
    if path.startswith(".") or path.endswith((".parquet", ".csv", ".jsonl", ".json")) or Path(path).is_absolute():
        return True
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_image(name: str) -> bool:
    """Tell whether a file is meant to be an image, by the end of its name."""
    return Path(name).suffix.lower() in IMAGES


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is passed over: a hidden one, or what a file manager left behind."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_mask(path: Path) -> bool:
    """Tell whether a picture is the mask or the condition of another one beside it."""
    for end in _MASKS:
        if path.stem.endswith(end):
            return any(path.with_name(f"{path.stem.removesuffix(end)}{kind}").exists() for kind in IMAGES)
    return False


def walk(folder: Path, root: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder that are not hidden, and refuse links that lead out of ``root``.

    Raises:
        UserError: a link in it leads elsewhere, or an image is no regular file.
    """
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if is_hidden(entry.name):
                    continue
                relative = path.relative_to(folder).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif entry.is_symlink() and path.is_dir():
                    raise UserError(
                        f"'{shown(relative)}' is a link to a folder, which is not followed; copy the folder there, or "
                        "set path to it."
                    )
                elif is_image(entry.name) or entry.name in METADATA or path.suffix == ".parquet":
                    _check_file(path, root)
                    yield relative
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield relative


def require_inside(path: Path, roots: Sequence[Path]) -> Path:
    """Return the real path of a file that must lie, links followed, in one of some folders.

    Raises:
        UserError: it lies elsewhere.
        OSError: its name cannot be one.
    """
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        where = f" (it is '{shown(str(real))}')" if str(real) != os.path.normpath(path) else ""
        raise UserError(
            f"the image '{shown(str(path))}' lies outside the folder of its source{where}, so it is not read; copy it "
            "there."
        )
    return real


def _check_file(path: Path, root: Path) -> None:
    real = require_inside(path, [root])
    if real.exists() and not real.is_file():
        raise UserError(f"'{shown(str(path))}' is a pipe, a device or the like, and not a file; remove it.")
