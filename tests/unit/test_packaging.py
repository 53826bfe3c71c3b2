"""What a public project promises: versions that work together, a licence, a citation, a changelog."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dmin.settings.environment import read_pins, render_environment

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-tools.txt", "requirements-pip.txt")
UNHASHED = "requirements-torch.txt"


def locked(*names: str) -> dict[str, Version]:
    """Return the versions of lock files by package; every entry must pin one, and none may stand twice."""
    pins = [Requirement(pin) for name in names for pin in read_pins(ROOT / name)]
    assert [pin for pin in pins if [term.operator for term in pin.specifier] != ["=="]] == []
    versions = {canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version) for pin in pins}
    assert len(versions) == len(pins)
    return versions


@pytest.mark.parametrize(
    ("wanted", "lock"),
    [
        (PROJECT["dependencies"], ("requirements.txt", UNHASHED)),
        (PROJECT["optional-dependencies"]["dev"], ("requirements-dev.txt",)),
        ((ROOT / "requirements-tools.in").read_text().splitlines(), ("requirements-tools.txt",)),
        ((ROOT / "requirements-pip.in").read_text().splitlines(), ("requirements-pip.txt",)),
    ],
    ids=["run", "dev", "tools", "pip"],
)
def test_lock_holds_what_the_project_names_within_its_bounds(wanted: list[str], lock: tuple[str, ...]) -> None:
    versions = locked(*lock)
    for requirement in map(Requirement, wanted):
        version = versions[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} does not admit the locked {version}"
        bounds = {term.operator: Version(term.version) for term in requirement.specifier}
        assert set(bounds) == {">=", "<"}, f"{requirement} has not one lower and one upper bound"
        assert bounds["<"] == Version(str(version.major + 1)), f"{requirement} ends elsewhere than the next major"


def test_locks_share_no_package() -> None:
    assert set(locked("requirements.txt", "requirements-dev.txt", UNHASHED)) > {"snakemake", "pytest", "torch"}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_its_hashes(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    bare = [
        entry for entry in entries if not re.fullmatch(r"\S+==[^\\]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry)
    ]
    assert bare == []
    assert len(entries) == len(read_pins(ROOT / name))


def test_torch_alone_goes_without_hashes_and_is_installed_last() -> None:
    assert list(locked(UNHASHED)) == ["torch"]
    steps = re.findall(r"^\t\$\(PIP\) (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    locks = [step for step in steps if "--requirement" in step]
    assert [step for step in locks if "--require-hashes" not in step] == [f"--requirement {UNHASHED}"]


def test_every_shipped_file_has_its_licence() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", (ROOT / "LICENCES.md").read_text(), re.MULTILINE)
    patterns = [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = listed.stdout.splitlines()
    shipped = [name for name in files if name.startswith(("resources/", "docs/images/"))]
    assert [name for name in shipped if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in shipped)] == []


def test_lowest_snakemake_is_the_one_that_the_workflow_asks_for() -> None:
    (least,) = re.findall(r'min_version\("(.+)"\)', (ROOT / "Snakefile").read_text())
    (wanted,) = (entry for entry in map(Requirement, PROJECT["dependencies"]) if entry.name == "snakemake")
    assert f">={least}" in str(wanted.specifier).split(",")


def test_tools_check_against_the_lowest_python() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: \d\.\d+$", line)]
    assert PROJECT["requires-python"] == f">={named[0]},<3.{int(named[-1].partition('.')[2]) + 1}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == named[0]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{named[0].replace('.', '')}"
    environment = yaml.safe_load((ROOT / "envs" / "dmin.yaml").read_text())
    (python,) = (entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert python.removeprefix("python=") in named


def test_environment_installs_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    marked = "b==2.0 ; python_version < '3.12'"
    lock.write_text(f"# pins\na==1 \\\n    --hash=sha256:0\n\n{marked} \\\n    --hash=sha256:1\n")
    torch = tmp_path / "torch.txt"
    torch.write_text("# no hashes\ntorch==3\n")
    environment = yaml.safe_load(render_environment(lock, torch))
    assert environment["dependencies"][-1] == {"pip": ["a==1", marked, "torch==3"]}
    assert "gxx" in environment["dependencies"] and environment["channels"] == ["conda-forge", "nodefaults"]


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "APPENDIX" in text
    assert PROJECT["license"] == CITATION["license"] == "Apache-2.0"


def test_data_have_licences_of_their_own() -> None:
    readme = (ROOT / "README.md").read_text()
    for folder in {path.parent.relative_to(ROOT) for path in (ROOT / "resources").rglob("*.parquet")}:
        assert (ROOT / folder / "ATTRIBUTION.md").exists() and f"({folder}/ATTRIBUTION.md)" in readme


def test_citation_holds_what_its_format_asks_for() -> None:
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert CITATION["title"] and CITATION["message"] and CITATION["authors"]
    assert CITATION["version"] == PROJECT["version"]
    names = [paper["abbreviation"] for paper in CITATION["references"]]
    assert len(names) == len(set(names)) > 10


@pytest.mark.parametrize("paper", CITATION["references"], ids=lambda paper: paper["abbreviation"])
def test_reference_is_complete(paper: dict[str, Any]) -> None:
    assert set(paper) <= {
        "type", "abbreviation", "title", "authors", "conference", "journal", "volume", "issue", "start", "end", "year",
        "doi", "url", "identifiers",
    }  # fmt: skip
    assert paper["type"] in ("article", "conference-paper")
    assert ("conference" in paper) == (paper["type"] == "conference-paper")
    assert 1950 < paper["year"] < 2100 and all(
        set(name) == {"family-names", "given-names"} for name in paper["authors"]
    )
    for identifier in paper.get("identifiers", []):
        assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", identifier["value"])
        assert paper["url"] == f"https://arxiv.org/abs/{identifier['value'].removeprefix('arXiv:')}"


def test_changelog_has_a_section_for_the_version_and_one_for_what_is_to_come() -> None:
    heads = re.findall(r"^## \[(.+?)\]( - \d{4}-\d{2}-\d{2})?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert PROJECT["version"] in [name for name, _ in heads] and all(date for _, date in heads[1:])


def test_workflow_catalogue_entry_is_true() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"] == {"conda": True} and usage["report"] is True
    assert usage["mandatory-flags"]["flags"] == ""
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert "conda:" in rules and "report(" in rules
