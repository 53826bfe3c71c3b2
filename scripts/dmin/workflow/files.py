"""Files on disk that jobs are made from, so that a changed one is seen."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from ..folders.files import is_local

WEIGHTS = (".json", ".safetensors", ".txt", ".model", ".bin")
# As PEFT names them.
ADAPTER_SETTINGS = "adapter_config.json"
# What the hub may call a repository.
_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)


def exists(path: str | Path) -> bool:
    """Return whether something is at a path; not where the system refuses to look, or the path is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_file(path: str | Path) -> bool:
    """Return whether a path is a regular file, as :func:`exists` does."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_missing(path: str) -> bool:
    """Return whether a path of the config can only stand for files here, and nothing is there."""
    return not exists(path) and (is_local(path) or not _HUB.fullmatch(path))


def weight_files(path: str) -> list[str]:
    """Return the file, or the files of a local pipeline or adapter that Snakemake can name; none for one on the hub."""
    if is_file(path):
        return list(filter(is_plain, [str(Path(path))]))
    files = (str(file) for file in Path(path).rglob("*") if file.suffix in WEIGHTS and is_file(file))
    return sorted(filter(is_plain, files))


def adapter_paths(path: str) -> list[str]:
    """Return what is read of a local adapter: its folder, or its file and PEFT's settings where these lie beside it."""
    beside = str(Path(path).with_name(ADAPTER_SETTINGS)) if is_file(path) else ""
    return [path, beside] if is_file(beside) else [path]


def pipeline_name(path: str) -> str | None:
    """Return the class that a local pipeline's ``model_index.json`` names; None where none is there to be read."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        named = json.loads((Path(path) / "model_index.json").read_text(encoding="utf-8")).get("_class_name")
        return named if isinstance(named, str) else None
    return None


def image_files(path: str) -> list[str]:
    """Return the file or the folder of local images; none for those on the hub.

    A folder stands for what it holds, which may be a hundred thousand files.
    """
    return [str(Path(path))] if is_local(path) else []


def is_plain(file: str) -> bool:
    """Return whether Snakemake can have a file as an input.

    It takes braces for wildcards and angle brackets for path variables, and cannot print what is no text.
    """
    return not set(file) & set("{}<>") and file.isprintable()
