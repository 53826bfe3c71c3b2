"""The conda environment of the rules, written from the lock file."""

from __future__ import annotations

from pathlib import Path

PYTHON = "3.13"

_HEAD = f"""\
# The environment of every rule for `--sdm conda`, written from the locks by `make pages`.
name: dmin
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={PYTHON}
  - pip
  - gxx
  - pip:
"""


def render_environment(lock: Path, torch: Path) -> str:
    """Return an environment file that installs every pin of two lock files, and the compiler that some need.

    Hashes are left out: pip wants them for all or for none, and torch has none.
    """
    return _HEAD + "".join(f"      - {pin}\n" for pin in [*read_pins(lock), *read_pins(torch)])


def read_pins(lock: Path) -> list[str]:
    """Return the requirements of a lock file in its order, without hashes."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line.removesuffix("\\").strip() for line in lines if line[:1].isalnum()]
