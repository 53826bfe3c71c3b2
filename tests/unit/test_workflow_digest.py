"""What an edit of the code reruns: the digests of all jobs, before and after it."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmin.catalogue.estimators import ESTIMATORS
from dmin.catalogue.families import FAMILIES
from dmin.catalogue.methods import METHODS
from dmin.workflow.digest import PLUMBING, CodeDigests, module_facts
from dmin.workflow.job_code import JobCode
from dmin.workflow.tables import read_tables

PROJECT = Path(__file__).parents[2]
# What a rule's code param names: its script, and what the script imports by name.
CODE = re.compile(r'code=code\("(\w+)"((?:, "\w+")*)\)')
# They import how a model is loaded and load none.
LOAD_NONE = {"import_queries"}
# Questions, answered each time they are asked, whatever the digest of their code.
ASKED = {"doctor", "plan"}
# They import how methods are drawn and draw none.
SHOW_NO_METHOD = {"plot_queries"}

Job = tuple[str, str]
Edit = Callable[[str, str, str], set[Job]]


def rule_codes() -> dict[str, set[str]]:
    """Return what each script imports by name, ``method`` or ``family``, as the rules say."""
    text = "\n".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
    return {script: set(re.findall(r"\w+", chosen)) for script, chosen in CODE.findall(text)}


def modules(root: Path, folder: str, constant: str) -> dict[str, str]:
    """Return the modules of a folder that have an entry, by name."""
    paths = (root / "scripts" / "dmin" / folder).glob("*.py")
    return {
        path.stem: f"dmin.{folder.replace('/', '.')}.{path.stem}"
        for path in paths
        if f"\n{constant} = " in path.read_text()
    }


def job_digests(root: Path) -> dict[Job, str]:
    """Return the digest of every script with every method or family that it may be asked for."""
    code = CodeDigests(root)
    methods = modules(root, "attribution/methods", "METHOD")
    families = modules(root, "models/families", "FAMILY")
    digests = {}
    for script, chosen in rule_codes().items():
        found = methods if "method" in chosen else families if "family" in chosen else {"": ""}
        for name, module in found.items():
            digests[script, name] = code.digest(script, *([module] if module else []))
    return digests


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Job, str]]:
    root = tmp_path_factory.mktemp("code")
    shutil.copytree(PROJECT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return root, job_digests(root)


@pytest.fixture
def edited(checkout: tuple[Path, dict[Job, str]]) -> Edit:
    """Return a function that edits a module of the library and returns the jobs that this reruns."""
    root, before = checkout

    def edit(module: str, old: str, new: str) -> set[Job]:
        path = root / "scripts" / "dmin" / f"{module}.py"
        text = path.read_text()
        changed = re.sub(old, new, text, count=1, flags=re.MULTILINE)
        assert changed != text, f"{module} holds no '{old}'"
        try:
            path.write_text(changed)
            after = job_digests(root)
        finally:
            path.write_text(text)
        return {job for job in before if after[job] != before[job]}

    return edit


def test_rules_name_what_their_scripts_import_by_name() -> None:
    codes = rule_codes()
    assert len(codes) > 60
    code, library = CodeDigests(PROJECT), PROJECT / "scripts" / "dmin"
    for script, chosen in codes.items():
        files = code.files(script)
        assert ("method" in chosen) == (library / "attribution" / "registry.py" in files), script
        loads = library / "models" / "load.py" in files and script not in LOAD_NONE | ASKED
        assert ("family" in chosen) == loads, script
        drawn = library / "figures" / "methods.py" in files and script not in SHOW_NO_METHOD
        assert bool({"look", "looks", "contributors"} & chosen) == drawn, script


def test_nothing_else_is_imported_by_name() -> None:
    # What is imported by name is in no digest unless the rules say so.
    library = PROJECT / "scripts" / "dmin"
    dynamic = {
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if re.search(r"\b(import_module|__import__|exec_module|run_path|run_module|find_spec)\b", path.read_text())
    }
    # No job imports the package's names; a plan is made each time; what is read late is read under its own name.
    assert dynamic == {
        "__init__.py", "attribution/registry.py", "games/measure.py", "games/registry.py", "models/load.py",
        "plan/architecture.py", "runtime/starting.py", "workflow/checkout.py",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(ASKED))
def test_questions_are_answered_each_time(name: str) -> None:
    rule = (PROJECT / "rules" / f"{name}.smk").read_text()
    assert "asked=lambda w: time.time()" in rule and f'code=code("{name}")' in rule


def test_no_job_imports_a_name_of_the_package() -> None:
    texts = {path: path.read_text() for path in (PROJECT / "scripts").rglob("*.py")}
    assert [path for path, text in texts.items() if re.search(r"^\s*from dmin import ", text, re.MULTILINE)] == []


@pytest.mark.parametrize("name", sorted(PLUMBING))
def test_plumbing_exists_and_its_edits_rerun_nothing(name: str, edited: Edit) -> None:
    module = name.removeprefix("dmin.").replace(".", "/")
    assert (
        edited(module, "from __future__ import annotations\n", "from __future__ import annotations\nX = 1\n") == set()
    )


@pytest.mark.parametrize("name", ["audits", "config", "models", "runs"])
def test_settings_that_count_as_plumbing_declare_and_compute_nothing(name: str) -> None:
    tree = ast.parse((PROJECT / "scripts" / "dmin" / "settings" / f"{name}.py").read_text())
    kinds = (ast.Expr, ast.ImportFrom, ast.ClassDef)
    assert [node for node in tree.body if not isinstance(node, kinds)] == []
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base) for node in classes for base in node.bases}
    assert "TypedDict" in bases and bases <= {"TypedDict", *(node.name for node in classes)}


# What is edited: a module, a pattern of which the first match is replaced, and by what.
HARMLESS = {
    "message of a log": ("runtime/job", "finished in", "ended after"),
    "message of an error": ("models/load", "is unknown; choose one", "is not known; choose one"),
    "another message": ("gradients/cache", r"^( +)log\.info\(", r'\1log.info("more")\n\1log.info('),
    "docstring": ("attribution/methods/trak", '"""TRAK', '"""The method TRAK'),
    "words of a method": ("attribution/methods/trak", '"summary": "', '"summary": "This is '),
    "label of a method": ("attribution/methods/trak", "^METHOD = {", 'METHOD = {\n    "label": "T",'),
    "words of a family": ("models/families/ddpm", '"summary": "', '"summary": "It is '),
    "hint of a type": ("attribution/registry", r"def find_method\(name: str\)", "def find_method(name: object)"),
    "import for types": ("attribution/registry", "    import numpy as np\n\n", ""),
    "code of rules": ("workflow/gradients", "def shards", "def no_shards"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_cannot_reach_a_result_reruns_nothing(name: str, edited: Edit) -> None:
    assert edited(*HARMLESS[name]) == set()


def test_formula_of_a_method_reruns_it_and_those_that_build_on_it(edited: Edit) -> None:
    rerun = edited("attribution/methods/trak", r"^    return RidgeProblem\(", "    return 1 * RidgeProblem(")
    scripts = {script for script, chosen in rule_codes().items() if "method" in chosen}
    folder = PROJECT / "scripts" / "dmin" / "attribution" / "methods"
    building = {path.stem for path in folder.glob("*.py") if "methods.trak import" in path.read_text()}
    assert {"relative_if", "dtrak"} <= building and "dmin" not in building
    assert rerun == {(script, name) for script in scripts for name in ("trak", *building)}


def test_facts_of_a_method_rerun_it_alone(edited: Edit) -> None:
    rerun = edited("attribution/methods/text", '"columns": .*,', '"columns": ("prompt", "label"),')
    assert {name for _, name in rerun} == {"text"}


def test_objective_of_a_family_reruns_what_loads_it(edited: Edit) -> None:
    rerun = edited("models/families/ddpm", '    "adapter": False,\n', '    "adapter": False,\n    "pndm": True,\n')
    assert rerun == {(script, "ddpm") for script, chosen in rule_codes().items() if "family" in chosen}


def test_named_grids_rerun_what_takes_gradients(edited: Edit) -> None:
    # Imported through a relative import of settings.
    rerun = edited("settings/timesteps", r"\*\* 3 \* 1000", "** 2 * 1000")
    assert {script for script, _ in rerun} == {
        "cache_gradients", "cache_lissa", "doctor", "measure_behaviour", "measure_losses", "measure_sample_losses",
        "pilot_curvature", "pilot_scale", "plan",
    }  # fmt: skip


def test_package_counts_with_its_modules(edited: Edit) -> None:
    rerun = edited("data/__init__", r"\A", "X = 1\n")
    assert ("fetch_source", "") in rerun and ("evaluate_cost", "") not in rerun


def test_new_family_reruns_nothing_and_new_method_scores_itself_alone(checkout: tuple[Path, dict[Job, str]]) -> None:
    root, before = checkout
    family = root / "scripts" / "dmin" / "models" / "families" / "toy.py"
    method = root / "scripts" / "dmin" / "attribution" / "methods" / "toy.py"
    try:
        family.write_text((family.parent / "ddpm.py").read_text())
        method.write_text((method.parent / "grad_dot.py").read_text())
        after = job_digests(root)
    finally:
        family.unlink()
        method.unlink()
    assert {job for job in before if before[job] != after[job]} == set()
    assert {name for _, name in after.keys() - before.keys()} == {"toy"}


def test_styles_and_scripts_of_a_page_count(checkout: tuple[Path, dict[Job, str]]) -> None:
    root, before = checkout
    for name in ("explorer.css", "explorer.map.js"):
        file = root / "scripts" / "dmin" / "figures" / name
        text = file.read_text()
        try:
            file.write_text(text + " ")
            after = job_digests(root)
        finally:
            file.write_text(text)
        assert {job for job in before if before[job] != after[job]} == {("explorer", "")}


def test_every_method_and_family_has_a_digest_of_its_own(checkout: tuple[Path, dict[Job, str]]) -> None:
    _, digests = checkout
    assert len({digests["score", name] for name in METHODS}) == len(METHODS)
    assert len({digests["train_model", name] for name in FAMILIES}) == len(FAMILIES)


def test_figures_hang_on_the_looks_of_the_methods_of_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [{"name": name, "path": f"owner/{name}", "rows": 50} for name in ("red", "blue")]
    config = {
        "datasets": {"d": {"sources": sources}},
        "bases": {"b": {"path": "owner/base"}},
        "models": {"m": {"dataset": "d", "base": "b"}},
        "runs": {"r": {"model": "m", "influence": {"methods": ["dmin", "text"], "top_k": 5}, "evaluation": {"k": [5]}}},
    }
    code = JobCode(read_tables(config, PROJECT))
    wildcards = SimpleNamespace(run="r", method="dmin")

    def digests() -> list[str]:
        return [
            code("plot_detection", "looks")(wildcards),
            code("plot_scores", "look")(wildcards),
            code("score", "method")(wildcards),
        ]

    before = digests()
    assert all(re.fullmatch("v3:[0-9a-f]{16}", digest) for digest in before)
    monkeypatch.setitem(METHODS, "trak", replace(METHODS["trak"], label="Another"))
    assert digests() == before
    monkeypatch.setitem(METHODS, "text", replace(METHODS["text"], label="Another"))
    assert [old == new for old, new in zip(before, digests(), strict=True)] == [False, True, True]


GAME = {"model": "m", "run": "r", "reference": {"rows": 5}, "coalitions": {"test": {"alphas": []}, "fit": {"count": 6}}}


@pytest.mark.parametrize("in_explorer", [True, False])
def test_pages_hang_on_what_they_say_of_estimators(monkeypatch: pytest.MonkeyPatch, in_explorer: bool) -> None:
    config = {
        "datasets": {
            "d": {"sources": [{"name": name, "path": f"owner/{name}", "rows": 50} for name in ("red", "blue")]}
        },
        "bases": {"b": {"path": "owner/base"}},
        "models": {"m": {"dataset": "d", "base": "b"}},
        "runs": {"r": {"model": "m", "influence": {"methods": ["dmin"], "top_k": 5}, "evaluation": {"k": [5]}}},
        "games": {"g": GAME | {"in_explorer": in_explorer}},
    }
    code = JobCode(read_tables(config, PROJECT))

    def digests() -> list[str]:
        return [
            code("explorer", "contributors")(SimpleNamespace(run="r")),
            code("contributor_page", "contributors")(SimpleNamespace(game="g")),
        ]

    before = digests()
    monkeypatch.setitem(ESTIMATORS, "shapley", replace(ESTIMATORS["shapley"], summary="Another"))
    assert [old == new for old, new in zip(before, digests(), strict=True)] == [not in_explorer, False]


def test_how_scores_are_added_up_by_player_counts_as_code() -> None:
    files = CodeDigests(PROJECT).files("fit_contributions")
    assert PROJECT / "scripts" / "dmin" / "catalogue" / "aggregates.py" in files


@pytest.mark.parametrize(("raised", "counts"), [("LeftOut", True), ("UserError", False)])
def test_why_an_issue_is_left_out_counts_as_code_and_what_an_error_says_does_not(raised: str, counts: bool) -> None:
    text = (PROJECT / "scripts" / "dmin" / "audit" / "findings.py").read_text().replace("LeftOut(", f"{raised}(")
    edited = text.replace("there is one subset", "all are of one subset")
    assert edited != text
    digests = {module_facts(version, ("dmin", "audit")).digest for version in (text, edited)}
    assert len(digests) == 1 + counts
