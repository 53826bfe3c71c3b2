"""Where the workflow may stand: a checkout that nobody can write to, a path with spaces, inside another workflow."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import Checkout, micro_config
from warm import warm_python

DATASET = Path("results") / "datasets" / "micro" / "train.parquet"
TABLE = Path("results") / "runs" / "micro" / "tables" / "detection_rate.csv"

CALLER = """
config.update({config!r})


module dmin:
    snakefile: "{snakefile}"
    config: config
    prefix: "attribution"


use rule * from dmin as dmin_*


rule summary:
    default_target: True
    input:
        "attribution/results/datasets/micro/dataset.json",
        "attribution/results/plan.csv",
    output:
        "summary.txt",
    shell:
        "cat {{input}} > {{output}}"
"""


def snakemake(checkout: Path, folder: Path, *arguments: str) -> str:
    """Run Snakemake in a folder with the library of a checkout, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "scripts"), "HF_HUB_OFFLINE": "1"}
    environment.pop("SNAKEMAKE_PROFILE", None)
    # Bytecode beside the library would need leave to write.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [warm_python(), "-m", "snakemake", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def move_data(checkout: Path, folder: Path) -> None:
    """Give a working directory of its own what the config's relative paths name."""
    for name in ("data", "base", "config"):
        (folder / name).symlink_to(checkout / name)


def listing(folder: Path) -> dict[str, int]:
    """Return the time of change of every file below a folder."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def sealed(new_checkout: Callable[[str], Checkout]) -> Iterator[Path]:
    """Return a checkout that cannot be written to."""
    root = new_checkout("sealed").root
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield root
    for path in paths:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_checkout_may_be_read_only(sealed: Path, tmp_path: Path) -> None:
    move_data(sealed, tmp_path)
    # For root every file can be written, so that nothing was is checked as well.
    before = listing(sealed)
    arguments = ("--snakefile", str(sealed / "Snakefile"), "--directory", str(tmp_path), "--cores", "2")
    planned = snakemake(sealed, sealed, *arguments, "--dry-run")
    assert "explorer" in planned
    snakemake(sealed, sealed, *arguments, "datasets", "plan")
    assert len(pd.read_parquet(tmp_path / DATASET)) == 60
    assert (tmp_path / "results" / "plan.csv").exists()
    assert listing(sealed) == before


def test_paths_may_hold_spaces(new_checkout: Callable[[str], Checkout], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "my own checkout", new_checkout("spaces").root)
    checkout.run("datasets", "plan")
    folder = tmp_path / "a working directory"
    folder.mkdir()
    move_data(checkout.root, folder)
    snakemake(checkout.root, tmp_path, "--snakefile", str(checkout.root / "Snakefile"), "--directory", str(folder),
              "--cores", "2", "datasets", "plan")  # fmt: skip
    assert (folder / DATASET).read_bytes() == (checkout.root / DATASET).read_bytes()


def test_workflow_is_a_module_of_another(new_checkout: Callable[[str], Checkout], tmp_path: Path) -> None:
    checkout = new_checkout("module")
    config = micro_config()
    for source in config["datasets"]["micro"]["sources"]:
        source["path"] = str(checkout.root / source["path"])
    config["bases"]["tiny"]["path"] = str(checkout.root / "base")
    text = CALLER.format(config=config, snakefile=checkout.root / "Snakefile")
    (tmp_path / "Snakefile").write_text(text)
    planned = snakemake(checkout.root, tmp_path, "--dry-run", "--cores", "2", "dmin_all")
    assert "attribution/results/runs/micro/explorer.html" in planned
    snakemake(checkout.root, tmp_path, "--cores", "2")
    assert "fingerprint" in (tmp_path / "summary.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "Snakefile",
        "attribution",
        "summary.txt",
    ]
    assert yaml.safe_load((checkout.root / "config" / "config.yaml").read_text()) == micro_config()
