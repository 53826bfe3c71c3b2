"""A copy of the project in a folder of its own, and Snakemake in it."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from micro_data import write_base, write_folder, write_table
from warm import warm_python

PROJECT = Path(__file__).parents[2]
MICRO = Path(__file__).with_name("micro.yaml")

Change = Callable[[dict[str, Any]], None]


def micro_config() -> dict[str, Any]:
    """Return the micro config as it stands in its file."""
    return yaml.safe_load(MICRO.read_text())


def write_template(folder: Path) -> None:
    """Write what every checkout holds: the workflow's own files, the micro config, its data and its base."""
    shutil.copy2(PROJECT / "Snakefile", folder)
    for name in ("rules", "scripts", "schemas", "report", "profiles", "envs"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    # Else the first jobs of every checkout would do it.
    compileall.compile_dir(folder / "scripts", quiet=1)
    (folder / "config").mkdir()
    shutil.copy2(MICRO, folder / "config" / "config.yaml")
    write_table(folder / "data" / "red.parquet", "red", 24)
    write_table(folder / "data" / "green.parquet", "green", 24)
    write_folder(folder / "data" / "blue", "blue", 24)
    write_base(folder / "base")


class Checkout:
    """A copy of a template, in which Snakemake runs.

    A copy, because tests edit the config and the code; of a template, so that all checkouts of a session are equal.
    """

    def __init__(self, root: Path, template: Path) -> None:
        self.root = root
        shutil.copytree(template, root, dirs_exist_ok=True)

    def write_config(self, text: str) -> None:
        """Replace the config."""
        (self.root / "config" / "config.yaml").write_text(text)

    def snakemake(self, *arguments: str, python: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here, with the library of this checkout, and on the warm interpreter if none is named."""
        environment = {**os.environ, "PYTHONPATH": str(self.root / "scripts"), "HF_HUB_OFFLINE": "1"}
        # A user's own profile would change what is tested.
        environment.pop("SNAKEMAKE_PROFILE", None)
        return subprocess.run(
            [python or warm_python(), "-m", "snakemake", *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """Make targets, by default everything, on two cores."""
        start = time.monotonic()
        result = self.snakemake("--cores", "2", *targets)
        print(f"snakemake {' '.join(targets)}: {time.monotonic() - start:.1f} s")  # noqa: T201
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def plan(self, *targets: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run plans."""
        start = time.monotonic()
        result = self.snakemake("--dry-run", *targets)
        print(f"dry run: {time.monotonic() - start:.1f} s")  # noqa: T201
        assert result.returncode == 0, result.stdout + result.stderr
        table = result.stdout.partition("Job stats:")[2].partition("total")[0]
        jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        assert jobs or "Nothing to be done" in result.stdout, result.stdout
        return {rule: count for rule, count in jobs.items() if rule != "all"}

    def plan_with(self, change: Change, *targets: str) -> dict[str, int]:
        """Return the plan under a changed config, and put the config back."""
        config = micro_config()
        change(config)
        return self.plan_as(yaml.safe_dump(config, sort_keys=False), *targets)

    def plan_as(self, text: str, *targets: str) -> dict[str, int]:
        """Return the plan under another config text, and put the config back."""
        try:
            self.write_config(text)
            return self.plan(*targets)
        finally:
            self.write_config(MICRO.read_text())

    def plan_edited(self, module: str, old: str, new: str) -> dict[str, int]:
        """Return the plan after an edit of a file of the code, and undo the edit."""
        path = self.root / module
        text = path.read_text()
        assert text.count(old) == 1, f"{module} holds '{old}' {text.count(old)} times"
        try:
            path.write_text(text.replace(old, new))
            return self.plan()
        finally:
            path.write_text(text)
