"""The recipes of CONTRIBUTING.md, each followed once in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config
from PIL import Image

_FILE = re.compile(r"^(Write|Add to) `([^`]+)`:\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the tests and pages of a copy need beside what every checkout holds.
_TEXTS = ("README.md", "CITATION.cff", "requirements.txt", "requirements-torch.txt", "pyproject.toml")


@dataclass(frozen=True)
class Step:
    """A file of a recipe: where it stands, its text, and whether it is new."""

    path: str
    text: str
    new: bool


def recipe(heading: str) -> list[Step]:
    """Return the steps under a heading of CONTRIBUTING.md."""
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    section = re.split(r"^## ", page.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [Step(path, text, verb == "Write") for verb, path, text in _FILE.findall(section)]


def follow(steps: list[Step], root: Path) -> list[str]:
    """Take the steps in a checkout, and return the files that they touch."""
    for step in steps:
        path = root / step.path
        assert path.exists() != step.new, f"{step.path} is {'there already' if step.new else 'not there'}"
        path.write_text(step.text if step.new else f"{path.read_text()}\n\n{step.text}")
    return [step.path for step in steps]


@pytest.fixture
def copied(finished: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of the finished micro run with tests and texts, to add to."""
    checkout = Checkout(tmp_path / "copy", finished.root)
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("tests", "docs", "config"):
        shutil.copytree(PROJECT / folder, checkout.root / folder, dirs_exist_ok=True, ignore=ignore)
    checkout.write_config(yaml.safe_dump(micro_config()))
    for name in _TEXTS:
        shutil.copy2(PROJECT / name, checkout.root)
    return checkout


@pytest.fixture
def python(copied: Checkout) -> Callable[..., str]:
    """Return a function that runs a module of Python in the copy, with the library of the copy."""

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(copied.root / "scripts")}
        # Some of these tests look at what a fresh interpreter has imported.
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=copied.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def pytest_arguments(*files: str) -> list[str]:
    """Return what runs test files in this process alone."""
    return ["pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib", "-q", *files]


def test_method(copied: Checkout, python: Callable[..., str]) -> None:
    touched = follow(recipe("A method"), copied.root)
    assert touched == ["scripts/dmin/attribution/methods/dmin_max.py", "tests/unit/test_method_dmin_max.py"]
    assert set(python("dmin.settings.pages").split()) == {"README.md", "config/README.md", "docs/methods.md"}
    for page in ("README.md", "config/README.md", "docs/methods.md"):
        assert "`dmin_max`" in (copied.root / page).read_text()
    python(*pytest_arguments(touched[1], "tests/unit/test_method_registry.py", "tests/unit/test_pages.py"))
    config = micro_config()
    config["runs"]["micro"]["influence"]["methods"].append("dmin_max")
    copied.write_config(yaml.safe_dump(config))
    table = "results/runs/micro/tables/detection_rate.csv"
    # It scores itself alone: at two widths and uncompressed.
    assert copied.plan(table) == {"score": 3, "evaluate_detection": 1}
    copied.run(table)
    rates = pd.read_csv(copied.root / table, dtype={"v": str}).query("method == 'dmin_max' and subset == 'mean'")
    assert set(rates["v"]) == {"64", "256", "full"} and rates["rate"].between(0, 1).all()


def test_evaluation_and_figure(copied: Checkout, python: Callable[..., str]) -> None:
    touched = follow(recipe("An evaluation and its table"), copied.root)
    assert touched == [
        "scripts/dmin/evaluation/reciprocal_rank.py",
        "scripts/evaluate_reciprocal_rank.py",
        "rules/evaluation.smk",
        "report/reciprocal_rank.rst",
        "tests/unit/test_evaluation_reciprocal_rank.py",
    ]
    drawn = follow(recipe("A figure"), copied.root)
    assert drawn == [
        "scripts/dmin/figures/reciprocal_rank.py",
        "scripts/plot_reciprocal_rank.py",
        "rules/report.smk",
        "report/reciprocal_rank_figure.rst",
        "tests/unit/test_figures_reciprocal_rank.py",
    ]
    python(*pytest_arguments(touched[-1], drawn[-1]))
    assert copied.plan() == {}, "a new table or figure reruns something"
    run = copied.root / "results" / "runs" / "micro"
    figure = "results/runs/micro/figures/reciprocal_rank.png"
    assert copied.plan(figure) == {"evaluate_reciprocal_rank": 1, "plot_reciprocal_rank": 1}
    copied.run(figure)
    table = pd.read_csv(run / "tables" / "reciprocal_rank.csv", dtype={"v": str})
    assert (
        set(table["method"]) == {"dmin", "dmin_no_norm", "text"} and table["mean_reciprocal_rank"].between(0, 1).all()
    )
    assert Image.open(copied.root / figure).size[0] > 100


def test_family(copied: Checkout, python: Callable[..., str]) -> None:
    touched = follow(recipe("A family"), copied.root)
    assert touched == [
        "scripts/dmin/models/families/pixel_flow.py",
        "tests/helpers/tiny_families.py",
        "tests/unit/test_models_pixel_flow.py",
    ]
    assert "`pixel_flow`" in python("dmin.settings.pages") + (copied.root / "docs" / "methods.md").read_text()
    python(*pytest_arguments(touched[2], "tests/unit/test_pages.py"))
    assert copied.plan() == {}, "a new family reruns something"
    config = micro_config()
    config["bases"]["tiny"]["family"] = "pixel_flow"
    config["models"]["micro"]["finetune"] = "full"
    config["runs"]["micro"]["gradients"] |= {"parameters": "all"}
    copied.write_config(yaml.safe_dump(config))
    planned = copied.plan()
    assert planned["train_full"] == 1 and planned["cache_gradients"] >= 2


def test_behaviour_and_estimator(copied: Checkout, python: Callable[..., str]) -> None:
    touched = follow(recipe("A behaviour"), copied.root)
    assert touched == ["scripts/dmin/games/behaviours/brightness.py", "tests/unit/test_games_brightness.py"]
    fitted = follow(recipe("An estimator"), copied.root)
    assert fitted == ["scripts/dmin/games/estimators/both_ends.py", "tests/unit/test_games_both_ends.py"]
    assert set(python("dmin.settings.pages").split()) == {"config/README.md", "docs/contributors.md"}
    page = (copied.root / "docs" / "contributors.md").read_text()
    assert "`brightness`" in page and "`both_ends`" in page
    assert "`brightness`" in (copied.root / "config" / "README.md").read_text()
    python(*pytest_arguments(touched[1], fitted[1], "tests/unit/test_pages.py"))
    assert copied.plan() == {}, "a new behaviour or estimator reruns something"
