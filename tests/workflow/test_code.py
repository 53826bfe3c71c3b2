"""What code reruns which jobs, and that every checkout has its own: dry runs, and one small run.

What an edit changes of every job's digest is compared in tests/unit/test_workflow_digest.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import Checkout, micro_config

from dmin.workflow.job_code import older_code

TWO_CHECKOUTS = """
module one:
    snakefile: "{one}/Snakefile"
    config: {one_config!r}
    prefix: "one"


use rule * from one as one_*


module two:
    snakefile: "{two}/Snakefile"
    config: {two_config!r}
    prefix: "two"


use rule * from two as two_*


rule both:
    default_target: True
    input:
        rules.one_influence.input,
        rules.two_influence.input,
"""


def absolute(checkout: Checkout, methods: list[str]) -> dict[str, Any]:
    """Return the micro config with absolute paths and these methods."""
    config = micro_config()
    for source in config["datasets"]["micro"]["sources"]:
        source["path"] = str(checkout.root / source["path"])
    config["bases"]["tiny"]["path"] = str(checkout.root / "base")
    config["runs"]["micro"]["influence"]["methods"] = methods
    return config


def test_two_checkouts_as_modules_of_one_workflow_each_have_their_own_code(
    new_checkout: Callable[[str], Checkout], tmp_path: Path
) -> None:
    one, two = new_checkout("one"), new_checkout("two")
    methods = two.root / "scripts" / "dmin" / "attribution" / "methods"
    shutil.copy(methods / "text.py", methods / "toy.py")
    ranges = two.root / "scripts" / "dmin" / "workflow" / "ranges.py"
    ranges.write_text(ranges.read_text().replace('f"{start:08d}-', 'f"{start + 50:08d}-'))
    text = TWO_CHECKOUTS.format(
        one=one.root,
        two=two.root,
        one_config=absolute(one, ["grad_dot", "text"]),
        two_config=absolute(two, ["grad_dot", "toy"]),
    )
    (tmp_path / "Snakefile").write_text(text)
    result = one.snakemake("--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path), "--dry-run")
    assert result.returncode == 0, result.stdout + result.stderr
    made = set(re.findall(r"\w+/results/[^\s,]+", result.stdout))
    assert "one/results/runs/micro/influence/text/top.parquet" in made
    assert "two/results/runs/micro/influence/toy/top.parquet" in made
    assert "one/results/runs/micro/influence/toy/top.parquet" not in made
    assert "one/results/runs/micro/gradients/loss/train/00000000-00000040.safetensors" in made
    assert "two/results/runs/micro/gradients/loss/train/00000050-00000040.safetensors" in made
    # The method of the other checkout is unknown here.
    (tmp_path / "Snakefile").write_text(text.replace("'grad_dot', 'text'", "'grad_dot', 'toy'"))
    result = one.snakemake("--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path), "--dry-run")
    assert result.returncode == 1 and "methods.1 is 'toy'; choose one of" in result.stdout + result.stderr


def record(folder: Path, name: str, *params: str) -> None:
    """Write a record of Snakemake's with these params."""
    metadata = folder / ".snakemake" / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / name).write_text(json.dumps({"params": [repr(param) for param in params]}))


def test_results_of_before_digests_had_a_scheme_are_told_by_their_records(tmp_path: Path) -> None:
    assert older_code(tmp_path) is None
    record(tmp_path, "a", "a setting", "12")
    assert older_code(tmp_path) is None
    record(tmp_path, "b", "0123456789abcdef", "a setting")
    sentence = older_code(tmp_path)
    assert sentence is not None and "count as stale, once" in sentence and "snakemake --touch" in sentence
    assert sentence.count(".") == 1
    record(tmp_path, "b", "v2:0123456789abcdef")
    assert older_code(tmp_path) == sentence
    record(tmp_path, "c", "v3:0123456789abcdef")
    assert older_code(tmp_path) is None
    (tmp_path / ".snakemake" / "metadata" / "c").write_text("torn")
    assert older_code(tmp_path) is not None


def age_records(folder: Path) -> None:
    """Take the scheme out of every digest that Snakemake recorded."""
    for path in (folder / ".snakemake" / "metadata").iterdir():
        path.write_text(re.sub(r"'v3:[0-9a-f]{16}'", "'0123456789abcdef'", path.read_text()))


def test_results_of_before_digests_had_a_scheme_are_stale_once_and_can_be_kept(
    new_checkout: Callable[[str], Checkout],
) -> None:
    checkout = new_checkout("older")
    checkout.run("datasets")
    summary = checkout.root / "results" / "datasets" / "micro" / "dataset.json"
    before = summary.read_bytes()
    assert checkout.plan("datasets") == {}
    age_records(checkout.root)
    result = checkout.snakemake("--dry-run", "datasets")
    assert "fetch_source" in result.stdout
    assert (result.stdout + result.stderr).count("count as stale, once") == 1
    touched = checkout.snakemake("--touch", "--cores", "1", "datasets")
    assert touched.returncode == 0, touched.stdout + touched.stderr
    result = checkout.snakemake("--dry-run", "datasets")
    assert "Nothing to be done" in result.stdout and "stale" not in result.stdout + result.stderr
    assert summary.read_bytes() == before


def test_new_method_scores_itself_alone(finished: Checkout) -> None:
    methods = finished.root / "scripts" / "dmin" / "attribution" / "methods"
    config = micro_config()
    config["runs"]["micro"]["influence"]["methods"].append("toy")
    try:
        shutil.copy(methods / "text.py", methods / "toy.py")
        plan = finished.plan_as(yaml.safe_dump(config, sort_keys=False))
    finally:
        (methods / "toy.py").unlink()
    assert plan == {
        "score_samples": 1, "evaluate_detection": 1, "evaluate_hubness": 1, "evaluate_cost": 1, "plot_detection": 1,
        "evaluate_significance": 1, "explorer": 1, "write_ranking": 1, "evaluate_agreement": 1, "plot_agreement": 1,
        "plot_main_table": 1, "plot_methods": 3,
    }  # fmt: skip


def test_new_family_and_changed_messages_and_plumbing_rerun_nothing(finished: Checkout) -> None:
    library = finished.root / "scripts" / "dmin"
    family = library / "models" / "families" / "toy.py"
    edits = {
        "runtime/job.py": ("finished in", "ended after"),
        "runtime/meter.py": ("Measure wall-clock", "Take wall-clock"),
        "models/load.py": ("is unknown; choose one", "is not known; choose one"),
        "workflow/ranges.py": ("Work cut into", "Work that is cut into"),
    }
    texts = {name: (library / name).read_text() for name in edits}
    try:
        shutil.copy(family.with_name("ddpm.py"), family)
        for name, (old, new) in edits.items():
            assert old in texts[name]
            (library / name).write_text(texts[name].replace(old, new))
        assert finished.plan() == {}
    finally:
        family.unlink()
        for name, text in texts.items():
            (library / name).write_text(text)


@pytest.mark.parametrize(("module", "scored"), [("dmin_no_norm", {"score": 3}), ("text", {"score_samples": 1})])
def test_changed_formula_of_a_method_scores_it_alone(finished: Checkout, module: str, scored: dict[str, int]) -> None:
    path = f"scripts/dmin/attribution/methods/{module}.py"
    text = (finished.root / path).read_text()
    statement = re.findall(r"^    return .*$", text, re.MULTILINE)[0]
    plan = finished.plan_edited(path, statement, statement.replace("return ", "return 1 * "))
    assert {rule: count for rule, count in plan.items() if rule.startswith("score")} == scored
    assert not set(plan) & {"cache_gradients", "train_model", "compress", "build_index", "retrieve", "encode_samples"}
