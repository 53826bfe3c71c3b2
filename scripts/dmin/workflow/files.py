"""Files on disk that jobs are made from, so that a changed one is seen."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = (".json", ".safetensors", ".txt")


def is_local(path: str) -> bool:
    """Return whether a path of the config stands for files here; otherwise it names something on the hub."""
    return path.startswith(".") or path.endswith(".parquet") or Path(path).is_absolute() or Path(path).exists()


def weight_files(path: str) -> list[str]:
    """Return the file, or the files of a local pipeline or adapter; none for one on the hub."""
    return _files(path, WEIGHTS)


def image_files(path: str) -> list[str]:
    """Return the files of local images; none for those on the hub."""
    return _files(path)


def is_plain(file: str) -> bool:
    """Return whether Snakemake can have a file as an input.

    It takes braces for wildcards and angle brackets for path variables, and cannot print what is no text.
    """
    return not set(file) & set("{}<>") and file.isprintable()


def _files(path: str, suffixes: tuple[str, ...] = ()) -> list[str]:
    if Path(path).is_file():
        return [str(Path(path))]
    return sorted(
        str(file) for file in Path(path).rglob("*") if file.is_file() and (not suffixes or file.suffix in suffixes)
    )
