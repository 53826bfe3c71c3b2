"""The conda environment of the rules, written from the lock file."""

from __future__ import annotations

from pathlib import Path

PYTHON = "3.13"

_HEAD = f"""\
# The environment of every rule for `--sdm conda`, written from requirements.txt by `make pages`.
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


def render_environment(lock: Path) -> str:
    """Return an environment file that installs every pin of ``lock``, and the compiler that some need."""
    pins = [line.strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return _HEAD + "".join(f"      - {pin}\n" for pin in pins if pin and not pin.startswith("#"))
