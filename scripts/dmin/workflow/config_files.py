"""The config files that Snakemake read, read again strictly."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..runtime.errors import UserError, printable
from ..settings.strict_yaml import read_config_file

_SUFFIXES = (".yaml", ".yml", ".json")


def check_config_files(given: Iterable[Path], default: str | None) -> None:
    """Exit with the sentence that says what is wrong with a config file.

    Args:
        given: those of the command line, which may be gone where a job runs.
        default: the one that they are laid over; None where it is not read.
    """
    try:
        for path in map(_shown, given):
            if path.exists():
                if path.suffix not in _SUFFIXES:
                    raise UserError(
                        f"--configfile was given '{path}', whose name ends in none of {', '.join(_SUFFIXES)}; it takes "
                        "every word that follows, so write targets before it, or after --."
                    )
                read_config_file(path)
        if default is not None and Path(default).exists():
            read_config_file(Path(default))
    except UserError as error:
        raise SystemExit(f"Error: {printable(str(error))}") from None


def _shown(path: Path) -> Path:
    """Return a path as it is shown: relative to the working directory where it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
