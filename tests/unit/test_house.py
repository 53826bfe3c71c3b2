"""The house: what a function takes, and what a job imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dmin.catalogue.families import FAMILIES
from dmin.catalogue.methods import METHODS

SCRIPTS = Path(__file__).parents[2] / "scripts"
LIBRARY = SCRIPTS / "dmin"
MOST_ARGUMENTS = 6

# What takes a second or more to import, and the jobs that need it.
MODEL_PACKAGES = {"diffusers", "transformers", "peft", "accelerate"}
HEAVY = MODEL_PACKAGES | {"torch", "datasets"}
MODEL_SCRIPTS = {
    "cache_gradients", "cache_lissa", "doctor", "encode_samples", "generate_anchor", "generate_candidates",
    "generate_from_prompts", "generate_members", "generate_queries", "import_adapter", "import_pipeline",
    "measure_behaviour", "measure_losses", "measure_sample_losses", "pilot_curvature", "pilot_scale", "plan",
    "prune_model", "record_trajectory", "regenerate", "retrain_subsets", "train_base", "train_model", "unlearn",
}  # fmt: skip
# They run a network of their own, draw from a generator of torch, or read features.
TORCH_SCRIPTS = {
    "audit_samples", "build_cascade", "compare_models", "cut_fields", "cut_regions", "embed_images", "embed_samples",
    "embed_train", "evaluate_audit_consequence", "evaluate_generation", "evaluate_removal", "evaluate_thickness",
    "label_queries", "measure_caption_similarity", "retrieve_cascade", "select_queries", "take_queries",
    "train_classifier",
}  # fmt: skip
# Each takes from a third of a second to four; libraries import them too.
SLOW_IMPORTS = (
    "torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "scipy.stats", "matplotlib.pyplot",
)  # fmt: skip
# Its tests are those of scipy.stats.
STATISTICS_SCRIPTS = {"evaluate_audit_calibration"}
# Drawn by seaborn, which imports them.
SEABORN_SCRIPTS = {"plot_agreement", "plot_norms"}
TORCH_METHODS = {"clip", "nda", "ssim", "student"}


def test_no_function_takes_more_than_six_arguments() -> None:
    found = []
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len(arguments) - (bool(arguments) and arguments[0].arg in ("self", "cls"))
                if count > MOST_ARGUMENTS:
                    found.append(f"{path.relative_to(LIBRARY)}:{node.lineno} takes {count}")
    assert found == []


def test_scripts_import_what_their_job_needs() -> None:
    scripts = {path.stem: heavy_imports(path) for path in sorted(SCRIPTS.glob("*.py"))}
    assert {name for name, found in scripts.items() if found & MODEL_PACKAGES} == MODEL_SCRIPTS
    assert {name for name, found in scripts.items() if "torch" in found} == MODEL_SCRIPTS | TORCH_SCRIPTS
    assert {name for name, found in scripts.items() if "datasets" in found} == set()


def test_light_jobs_import_no_slow_library() -> None:
    heavy = MODEL_SCRIPTS | TORCH_SCRIPTS | STATISTICS_SCRIPTS | SEABORN_SCRIPTS
    light = {path.stem for path in SCRIPTS.glob("*.py")} - heavy
    # After each script, what came with it: the first that imports a library is named.
    lines = ["import sys", "known = set()"]
    for name in sorted(light):
        body = ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8")).body
        lines += [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        lines.append(f"found = set({SLOW_IMPORTS!r}) & sys.modules.keys() - known")
        lines.append(f"known |= found; [print({name!r}, library) for library in sorted(found)]")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_methods_and_families_are_found_without_importing_them() -> None:
    for module in ("catalogue/methods.py", "catalogue/families.py", "attribution/registry.py"):
        assert heavy_imports(LIBRARY / module) == set()
    methods = {name: heavy_imports(_file(entry.module)) for name, entry in METHODS.items()}
    assert {name for name, found in methods.items() if found} == TORCH_METHODS
    assert all("diffusers" in heavy_imports(_file(entry.module)) for entry in FAMILIES.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch.nn", {"torch.nn"}),
        ("from dmin.data import pixels", {"dmin.data", "dmin.data.pixels"}),
        ("from .models import Base", {"dmin.settings.models", "dmin.settings.models.Base"}),
        ("from ..data import pixels", {"dmin.data", "dmin.data.pixels"}),
        ("if True:\n    import torch", {"torch"}),
        ("try:\n    import torch\nexcept ImportError:\n    import numpy", {"torch", "numpy"}),
        ("if TYPE_CHECKING:\n    import torch", set()),
        ("def late():\n    import torch", set()),
    ],
)
def test_imports_are_those_that_run_when_a_module_is_imported(text: str, expected: set[str]) -> None:
    assert set(_imports(ast.parse(text).body, "dmin.settings")) == expected


def heavy_imports(path: Path) -> set[str]:
    """Return the heavy packages that importing a file imports, by way of the library too."""
    pending, seen, found = [path], set[Path](), set[str]()
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imported(file):
            found.add(name.partition(".")[0])
            pending += [part for part in _files(name) if part not in seen]
    return found & HEAVY


@cache
def _imported(path: Path) -> frozenset[str]:
    package = ".".join(path.relative_to(SCRIPTS).parent.parts)
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8")).body, package))


def _imports(body: list[ast.stmt], package: str) -> Iterator[str]:
    """Yield the modules that statements of a package import when they run, and what may be a module of one."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from _imports([*node.body, *node.orelse], package)
        elif isinstance(node, ast.Try):
            yield from _imports([*node.body, *(line for handler in node.handlers for line in handler.body)], package)
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from _imports(node.body, package)


def _files(name: str) -> Iterator[Path]:
    """Yield the files of the library that importing a module runs: its own and those of its packages."""
    parts = name.split(".")
    if parts[0] != "dmin":
        return
    for depth in range(1, len(parts) + 1):
        stem = SCRIPTS.joinpath(*parts[:depth])
        yield from (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file())


def _file(module: str) -> Path:
    return SCRIPTS.joinpath(*module.split(".")).with_suffix(".py")
