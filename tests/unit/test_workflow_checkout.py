"""Each checkout has a library of its own for its rules, of the standard library and itself alone."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dmin.workflow.checkout import load_library

PROJECT = Path(__file__).parents[2]
LIBRARY = PROJECT / "scripts" / "dmin"
LIGHT = ["__init__.py", "catalogue", "folders", "workflow", "runtime/__init__.py", "runtime/errors.py"]
SETTINGS = ["__init__.py", "config.py", "models.py", "runs.py", "timesteps.py"]


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """Return two checkouts that differ in a formula of workflow/ and in their methods."""
    roots = tmp_path / "one", tmp_path / "two"
    for root in roots:
        for name in ("scripts", "schemas"):
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    ranges = roots[1] / "scripts" / "dmin" / "workflow" / "ranges.py"
    ranges.write_text(ranges.read_text().replace("{start:08d}-", "from{start:08d}-"))
    methods = roots[1] / "scripts" / "dmin" / "attribution" / "methods"
    shutil.copy(methods / "text.py", methods / "toy.py")
    return roots


def test_two_checkouts_never_see_each_other(copies: tuple[Path, Path]) -> None:
    one, two = (load_library(root) for root in copies)
    assert one.__name__ != two.__name__
    assert "toy" in two.METHODS and "toy" not in one.METHODS
    name = f"{two.__name__}.ranges"
    assert sys.modules[name].cut_ranges(1, 2) == ["from00000000-00000001"]
    assert sys.modules[name.replace(two.__name__, one.__name__)].cut_ranges(1, 2) == ["00000000-00000001"]
    # Nor the library that the scripts import.
    from dmin.catalogue.methods import METHODS

    assert "toy" not in METHODS and METHODS is not one.METHODS


def test_checkout_is_loaded_afresh(copies: tuple[Path, Path]) -> None:
    root, _ = copies
    before = load_library(root)
    methods = root / "scripts" / "dmin" / "attribution" / "methods"
    (methods / "later.py").write_text((methods / "text.py").read_text())
    after = load_library(root)
    assert "later" in after.METHODS and "later" not in before.METHODS


def test_folder_without_a_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ImportError, FileNotFoundError)):
        load_library(tmp_path)


def light_files() -> list[Path]:
    paths = [LIBRARY / name for name in LIGHT] + [LIBRARY / "settings" / name for name in SETTINGS]
    return [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]


@pytest.mark.parametrize("path", light_files(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_what_rules_load_imports_the_standard_library_and_itself_relatively(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        assert [name for name in names if name.split(".")[0] not in sys.stdlib_module_names] == []


def test_what_rules_load_is_light_and_no_part_of_the_installed_library() -> None:
    code = (
        "import runpy, sys; from pathlib import Path; root = Path(sys.argv[1]); before = set(sys.modules)\n"
        "runpy.run_path(f'{root}/scripts/dmin/workflow/checkout.py')['load_library'](root)\n"
        "print(*(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(PROJECT)], capture_output=True, text=True, check=True)
    loaded = {re.sub(r"^dmin_[0-9a-f]+", "own", name) for name in result.stdout.split()}
    assert {name for name in loaded if name.split(".")[0] == "dmin"} == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("own.")}
    assert rooms == {"catalogue", "folders", "runtime", "settings", "workflow"}
    assert {name for name in loaded if name.startswith("own.runtime.")} == {
        f"own.runtime.{name}" for name in ("attributed", "errors", "links", "text", "weight_headers")
    }
    heavy = {"numpy", "pandas", "torch", "snakemake", "diffusers", "transformers", "PIL", "pyarrow"}
    assert not heavy & {name.split(".")[0] for name in loaded}


def python_lines(path: Path) -> tuple[int, int]:
    """Return how many lines of a file of rules are Python that is not a rule, and how many there are.

    A statement of Snakemake and what is indented below it is a rule's; blank lines and comments are nobody's.
    """
    python = total = 0
    in_rule = False
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        total += 1
        if not line[0].isspace():
            in_rule = re.match(r"((use )?rule|checkpoint)\b.*:$|localrules:|ruleorder:", line) is not None
        python += not in_rule
    return python, total


def test_files_of_rules_hold_rules() -> None:
    counts = {path.name: python_lines(path) for path in (PROJECT / "rules").glob("*.smk")}
    assert len(counts) > 10 and sum(total for _, total in counts.values()) > 1000
    assert {name: count for name, (count, total) in counts.items() if count * 10 > total} == {}


def test_python_in_a_file_of_rules_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "some.smk"
    file.write_text(
        "import time\n\n\ndef helper():\n    return 1\n\n\n# A remark.\nrule some:\n    output:\n        'a',\n"
    )
    assert python_lines(file) == (3, 6)
