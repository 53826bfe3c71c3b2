"""The rooms of the library have floors: each imports only from those below, and no two import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
# Lowest first.
ROOMS = [
    "runtime", "folders", "catalogue", "settings", "workflow", "data", "models", "gradients", "attribution",
    "retrieval", "retraining", "games", "evaluation", "audit", "figures", "plan", "verify", "doctor",
]  # fmt: skip
LONGEST = 300
# Still longer, and a circle still there; what is mended leaves these lists.
LONG = {
    "tests/unit/test_deadline.py", "tests/unit/test_models_ddpm_sd3.py", "tests/workflow/test_config.py",
    "tests/workflow/test_run.py",
}  # fmt: skip
CIRCLES = [["dmin.models", "dmin.models.families", "dmin.models"]]
# Code and rules of the project, in the folders that hold them.
WRITTEN = ("scripts", "rules", "tests", "benchmarks")

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the library; a package's is that of its folder."""
    parts = path.relative_to(SCRIPTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((SCRIPTS / "dmin").rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """Yield the files of the library that a file imports, wherever in it: at its top, for types, or in a function."""
    package = path.relative_to(SCRIPTS).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                # What is imported is a file, or stands in one.
                found = f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source
                if found in MODULES:
                    yield found


IMPORTS: Graph = {name: set(imports(path)) - {name} for name, path in MODULES.items()}


def folders(graph: Graph) -> dict[str, set[str]]:
    """Return which folders import from which; a subfolder is a folder of its own."""
    folder = {name: name if path.name == "__init__.py" else name.rpartition(".")[0] for name, path in MODULES.items()}
    found: dict[str, set[str]] = {name: set() for name in folder.values()}
    for name, others in graph.items():
        found[folder[name]] |= {folder[other] for other in others} - {folder[name]}
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Return a circle through every node that is on one and not yet on another: the nodes along it."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found


def test_every_folder_of_the_library_is_a_room() -> None:
    assert sorted(path.parent.name for path in (SCRIPTS / "dmin").glob("*/__init__.py")) == sorted(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_below(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    upward = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        if name.startswith(f"dmin.{room}")
        for other in sorted(others)
        if other.split(".")[1] in above
    ]
    assert upward == []


def test_files_import_in_no_circle() -> None:
    assert circles(IMPORTS) == []


def test_folders_import_in_no_circle() -> None:
    assert [circle for circle in circles(folders(IMPORTS)) if circle not in CIRCLES] == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_imports_are_seen_wherever_they_stand() -> None:
    file = SCRIPTS / "dmin" / "attribution" / "registry.py"
    assert {"dmin.attribution.gradient_rows", "dmin.runtime.errors"} <= set(imports(file)), "for types, and at its top"
    assert "dmin.catalogue.entries" in set(imports(SCRIPTS / "dmin" / "catalogue" / "methods.py")), "relative"


def test_no_file_is_longer_than_a_reader_holds() -> None:
    files = [ROOT / "Snakefile", *(path for folder in WRITTEN for path in (ROOT / folder).rglob("*"))]
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
        if path.suffix in (".py", ".smk") or path.name == "Snakefile"
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST and name not in LONG} == {}
