"""What is written about the workflow is true of it, and its rules keep the conventions that the rest builds on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import PROJECT
from config_tables import load

from dmin.settings.reference import render_reference
from dmin.settings.schema import read_schema

SCHEMA = read_schema(PROJECT / "schemas" / "config.schema.yaml")
README = (PROJECT / "config" / "README.md").read_text()


def written_rules() -> dict[str, str]:
    """Return the text of every rule that runs a script, by name."""
    text = "\n".join(path.read_text() for path in sorted((PROJECT / "rules").glob("*.smk")))
    blocks = re.split(r"^(?:rule|checkpoint) (\w+):\n", text, flags=re.MULTILINE)
    rules = {
        name: re.split(r"^\S", body, maxsplit=1, flags=re.MULTILINE)[0]
        for name, body in zip(blocks[1::2], blocks[2::2], strict=True)
    }
    return {name: body for name, body in rules.items() if "script:" in body}


RULES = written_rules()
# Where outputs of rules begin: folders, or names of figures.
BELOW = ("<results>/", "<run>/", "<game>/", "gallery/", "methods/", "scores/")


def schema_keys(entry: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key that holds a value and not a table."""
    if "$ref" in entry:
        entry = {**SCHEMA["$defs"][entry["$ref"].split("/")[-1]], **entry}
    if "properties" in entry:
        for name, child in entry["properties"].items():
            yield from schema_keys(child, (*place, name))
    elif "$ref" in (entry.get("additionalProperties") or {}):
        yield from schema_keys(entry["additionalProperties"], (*place, "{name}"))
    else:
        yield place
        if "items" in entry:
            yield from (
                path for path in schema_keys(entry["items"], (*place[:-1], f"{place[-1]}[]")) if "[]" not in path[-1]
            )


def documented_keys(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key that has a row in the reference."""
    place: tuple[str, ...] = ()
    for line in text.splitlines():
        if heading := re.match(r"### `(.+)`", line):
            place = tuple(heading[1].split("."))
        elif row := re.match(r"\| `([^`]+)` \|", line):
            yield (*place, *row[1].split("."))


def test_reference_has_every_key_of_the_schema_and_no_other() -> None:
    documented = list(documented_keys(README.partition("<!-- reference -->")[2].partition("<!-- /reference -->")[0]))
    assert len(documented) > 80
    assert sorted(documented) == sorted(schema_keys(SCHEMA))


def test_reference_tells_type_default_and_description() -> None:
    lines = render_reference(SCHEMA).splitlines()
    assert "| `train.learning_rate` | number > 0, ≤ 1000000 | `0.001` | Peak learning rate of AdamW. |" in lines
    assert "| `noise.fraction` | number ≥ 0, ≤ 1 | `0.05` | Share of the rows that is copied with noise. |" in lines
    assert "| `revision` | text or null | `null` | Commit or tag of a hub data set; pin it. |" in lines


def merge(left: dict[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one config over another, as Snakemake does; an entry of which nothing is said stays."""
    for key, value in right.items():
        if isinstance(value, dict) and isinstance(left.get(key), dict):
            merge(left[key], value)
        elif value is not None:
            left[key] = value
    return left


@pytest.mark.parametrize(
    "example", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL), ids=["second run", "own images"]
)
def test_examples_of_the_page_are_valid(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = merge(yaml.safe_load((PROJECT / "config" / "config.yaml").read_text()), yaml.safe_load(example))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number in range(120):
        (tmp_path / "pictures" / f"{number:04}.png").touch()
    (tmp_path / "resources").symlink_to(PROJECT / "resources")
    assert len(load(config).runs) == 2


def descriptions(entry: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield every key's schema and whether it is described."""
    if isinstance(entry, dict):
        for child in (entry.get("properties") or {}).values() if isinstance(entry.get("properties"), dict) else ():
            yield child, "description" in child or "$ref" in child
        for child in entry.values():
            yield from descriptions(child)
    elif isinstance(entry, list):
        for child in entry:
            yield from descriptions(child)


def test_schema_describes_every_key_and_allows_no_others() -> None:
    keys = list(descriptions(SCHEMA))
    assert len(keys) > 80
    assert [key for key, described in keys if not described] == []
    tables = [
        table for table in [SCHEMA, *SCHEMA["$defs"].values(), *(key for key, _ in keys)] if "properties" in table
    ]
    assert [table for table in tables if table.get("additionalProperties") is not False] == []


SCRIPTS = {rule: re.search(r'"\.\./scripts/(\w+)\.py"', body) for rule, body in RULES.items()}


def test_every_script_belongs_to_a_rule_of_its_name_or_to_several() -> None:
    assert len(RULES) > 20
    users: dict[str, list[str]] = {path.stem: [] for path in (PROJECT / "scripts").glob("*.py")}
    for rule, script in SCRIPTS.items():
        assert script is not None, rule
        users[script[1]].append(rule)
    assert {script: rules for script, rules in users.items() if script not in rules and len(rules) < 2} == {}


def test_no_two_scripts_are_the_same() -> None:
    texts = [path.read_text() for path in (PROJECT / "scripts").glob("*.py")]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("rule", RULES)
def test_rule_has_a_log_of_its_name_and_the_digest_of_its_script(rule: str) -> None:
    body, script = RULES[rule], SCRIPTS[rule]
    assert re.search(rf'log:\s+"<logs>/{rule}/', body), f"the log of {rule} is not in a folder of its name"
    assert script is not None and re.search(
        rf'code=code\("{script[1]}"(, "(method|family|behaviour|estimators|looks?|contributors)")*\),', body
    )
    assert re.search(r'conda:\s+"\.\./envs/\w+\.yaml"', body)
    if not rule.startswith("plot_") and rule != "explorer":
        assert re.search(rf'benchmark:\s+"<benchmarks>/{rule}/', body)


# A file of the user's, as an input says it or a setting names it, and the param that holds the digest of its contents.
USERS_FILES = {
    "base.files": "base_contents=contents.base",
    "base.settings": "base_contents=contents.base",
    ".own_files": "own_contents=contents.own",
    "encoder_files": "encoder_contents=contents.game_encoder",
    'classifier["path"]': "classifier_contents=contents.classifier",
    ".classifier_files(": "classifier_contents=contents.game_classifier",
}


@pytest.mark.parametrize("rule", RULES)
def test_files_of_the_user_count_by_their_contents_and_not_by_their_dates(rule: str) -> None:
    body = RULES[rule]
    for said, digest in USERS_FILES.items():
        lines = [line for line in body.splitlines() if said in line]
        assert not lines or digest in body, f"{rule} does not see what {said} holds"
        inputs = [line for line in body.partition("output:")[0].splitlines() if said in line]
        assert [line for line in inputs if "ancient(lambda" not in line] == []


# What a user brings, as rules ask for it.
BROUGHT = (
    "base.files", "bases[w.base].files", "base_files(", "source_files(", "own_files", "encoder_files",
    "classifier_files(", "classifier_description", 'classifier["path"]', "image_files", "mask_files",
    "base_trainings[", "classifier_trainings[",
)  # fmt: skip


def test_no_file_that_a_rule_makes_is_ancient() -> None:
    # While its maker is to run, Snakemake asks no job below for its own reasons: a changed param would be passed over.
    text = "".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
    lines = [line for line in text.splitlines() if "ancient(" in line and not line.startswith("#")]
    assert len(lines) > 40
    assert [line for line in lines if not any(name in line for name in BROUGHT)] == []


@pytest.mark.parametrize("rule", RULES)
def test_rule_writes_below_the_results(rule: str) -> None:
    outputs = RULES[rule].partition("output:")[2].partition("log:")[0]
    paths = [text for text in re.findall(r'"([^"]+)"', outputs) if "/" in text and not text.startswith("../")]
    assert [path for path in paths if not path.startswith(BELOW)] == []


@pytest.mark.parametrize("script", sorted((PROJECT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_script_is_thin_and_reads_no_config(script: Path) -> None:
    # What a script reads past its params would change results without a rerun.
    text = script.read_text()
    assert "snakemake.config" not in text
    assert len(text.splitlines()) < 30
    tree = ast.parse(text)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert sum(isinstance(node, ast.With) for node in tree.body) == 1


def test_library_never_meets_snakemake() -> None:
    texts = {path: path.read_text() for path in (PROJECT / "scripts" / "dmin").rglob("*.py")}
    assert [path for path, text in texts.items() if re.search(r"^\s*(import|from) snakemake", text, re.MULTILINE)] == []


def test_parsing_the_rules_imports_nothing_heavy() -> None:
    # Each import here is paid by every dry run, and twice by every job on a cluster.
    light = {
        "functools",
        "pathlib",
        "runpy",
        "snakemake",
        "sys",
        "time",
    }
    texts = [(PROJECT / "Snakefile").read_text(), *(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))]
    imported = {name for text in texts for name in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)}
    assert imported <= light


def test_every_caption_exists_and_is_used() -> None:
    text = "\n".join(path.read_text() for path in [PROJECT / "Snakefile", *(PROJECT / "rules").glob("*.smk")])
    unused = [
        path.name for path in (PROJECT / "report").glob("*.rst") if not re.search(rf'["/]{path.stem}(\.rst)?"', text)
    ]
    assert unused == []
    assert [name for name in re.findall(r"report/(\w+\.rst)", text) if not (PROJECT / "report" / name).exists()] == []
