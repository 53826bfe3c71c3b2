"""The micro config on a real SLURM, through the shipped profile: equal results, and a cancelled job tried again."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import PROJECT, Checkout, micro_config, write_template
from processes import PATIENCE_S

HERE = Path(__file__).parent
PROFILE = yaml.safe_load((PROJECT / "profiles" / "slurm" / "profile.yaml").read_text())
RUN = Path("results") / "runs" / "micro"
# What a run measures of itself; all else must be equal.
TIMED = ("cost.csv", "cost.csv.sha256", "retrieval.csv.sha256", ".metrics.json", ".tsv")
TIMES = ["p50_ms", "p95_ms", "build_seconds"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Run a cluster on this machine; Snakemake and its jobs find it by the environment."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed; requirements.txt pins it.")
    # munged refuses a folder that other users cannot enter, as pytest's are.
    state = Path(tempfile.mkdtemp(prefix="dmin-slurm-"))
    state.chmod(0o755)
    started = subprocess.run([HERE / "start-slurm.sh", state], capture_output=True, text=True, check=False)
    try:
        if started.returncode:
            pytest.skip(f"no SLURM can be started here: {started.stderr.strip()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(state / "etc" / "slurm.conf"))
            patch.setenv("PATH", str(state / "bin"), prepend=":")
            yield
    finally:
        subprocess.run([HERE / "stop-slurm.sh", state], check=False)
        shutil.rmtree(state, ignore_errors=True)


def rule_bodies() -> dict[str, tuple[str | None, str]]:
    """Return the rule that each rule is made from, where there is one, and its text."""
    text = "\n".join(path.read_text() for path in sorted((PROJECT / "rules").glob("*.smk")))
    parts = re.split(r"^(?:(?:rule|checkpoint) (\w+)|use rule (\w+) as (\w+) with):\n", text, flags=re.MULTILINE)[1:]
    quads = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return {name or made: (origin, body) for name, origin, made, body in quads}


def jobs() -> pd.DataFrame:
    """Return what SLURM knows of its jobs, ended ones too, in the order of submission."""
    fields = {"id": "jobid", "state": "state", "memory": "minmemory", "limit": "timelimit", "gpus": "tres-per-job"}
    asked = ",".join(f"{field}:40|" for field in [*fields.values(), "comment"])
    command = ["squeue", "--states=all", "--noheader", "--sort=i", "--Format", asked]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    frame = pd.DataFrame([row[: len(fields) + 1] for row in rows], columns=[*fields, "rule"])
    # The plugin's comment: rule_NAME, and its wildcards where there are any.
    frame["rule"] = frame["rule"].str.removeprefix("rule_").str.split("_wildcards").str[0]
    return frame


def cancel_first(rule: str) -> str:
    """Cancel the first job of a rule that runs, and return its id."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        frame = jobs()
        running = frame[(frame["rule"] == rule) & (frame["state"] == "RUNNING")]
        if len(running):
            subprocess.run(["scancel", running.iloc[0]["id"]], check=True)
            return running.iloc[0]["id"]
        time.sleep(1)
    raise AssertionError(f"no job of {rule} ran within {PATIENCE_S} s:\n{jobs()}")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the workflow and the micro config, asking for a GPU where there is one."""
    folder = tmp_path_factory.mktemp("template")
    write_template(folder)
    config = micro_config()
    config["compute"]["device"] = "auto"
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def submitted(slurm: None, template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, pd.DataFrame]:
    """Return a checkout in which SLURM made the tables, and its jobs; one of them was cancelled on the way."""
    checkout = Checkout(tmp_path_factory.mktemp("submitted"), template)
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        # Only the wait for the first look differs from what the profile sets: there is no one to be considerate to.
        wait = ("--slurm-init-seconds-before-status-checks", "5")
        asked = ("--workflow-profile", "profiles/slurm", *wait, "tables")
        # SLURM watches and kills the processes of a job, and those of the warm interpreter are not its own.
        run = pool.submit(checkout.snakemake, *asked, python=sys.executable)
        cancel_first("assemble_dataset")
        result = run.result()
    print(f"tables through SLURM: {time.monotonic() - start:.1f} s")  # noqa: T201
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout, jobs()


def test_results_are_those_of_a_local_run(
    submitted: tuple[Checkout, pd.DataFrame], template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    local = Checkout(tmp_path_factory.mktemp("local"), template)
    local.run("tables")
    remote = submitted[0]

    def files(checkout: Checkout) -> list[Path]:
        folder = checkout.root / "results"
        return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    assert files(remote) == files(local)
    compared = [path for path in files(local) if not str(path).endswith((*TIMED, "retrieval.csv"))]
    assert sum(path.name == "scores.npy" for path in compared) == 7
    assert sum(path.parent.name == "tables" for path in compared) == 5
    left, right = (checkout.root / "results" for checkout in (remote, local))
    assert [path for path in compared if (left / path).read_bytes() != (right / path).read_bytes()] == []
    tables = [pd.read_csv(checkout.root / RUN / "tables" / "retrieval.csv") for checkout in (remote, local)]
    pd.testing.assert_frame_equal(*(table.drop(columns=TIMES) for table in tables))


def test_every_job_asks_for_what_the_profile_says(submitted: tuple[Checkout, pd.DataFrame]) -> None:
    frame = submitted[1]
    granted = frame[frame["state"] == "COMPLETED"].set_index("rule")
    assert len(granted) == 33
    limits = {rule: set(granted.loc[[rule], "limit"]) for rule in ("train_model", "cache_gradients", "evaluate_cost")}
    assert limits == {"train_model": {"8:00:00"}, "cache_gradients": {"4:00:00"}, "evaluate_cost": {"30:00"}}
    assert set(granted.loc[["cache_gradients"], "memory"]) == {"24000M"}
    assert set(granted.loc[["evaluate_cost"], "memory"]) == {"4000M"}


def test_jobs_of_the_model_and_no_others_ask_for_a_gpu(submitted: tuple[Checkout, pd.DataFrame]) -> None:
    asking = submitted[1].groupby("gpus")["rule"].unique()
    assert set(asking["gres:gpu:1"]) == {
        "encode_samples",
        "train_model",
        "generate_queries",
        "encode_queries",
        "cache_gradients",
    }
    assert "N/A" in asking.index


def test_cancelled_job_is_tried_again_with_more(submitted: tuple[Checkout, pd.DataFrame]) -> None:
    frame = submitted[1]
    attempts = frame[frame["rule"] == "assemble_dataset"][["state", "memory", "limit"]].to_numpy().tolist()
    assert attempts == [["CANCELLED", "8000M", "30:00"], ["COMPLETED", "16000M", "1:00:00"]]
    assert set(frame["state"]) == {"CANCELLED", "COMPLETED"}


def test_profile_names_rules_that_exist_and_keeps_to_a_day() -> None:
    assert set(PROFILE["set-resources"]) <= set(rule_bodies())
    attempts = PROFILE["retries"] + 1
    asked = [PROFILE["default-resources"], *PROFILE["set-resources"].values()]
    assert all(eval(entry.get("runtime", "0"), {"attempt": attempts}) <= 24 * 60 for entry in asked)


def test_profile_names_each_rule_that_may_use_a_gpu_and_what_is_made_from_named_ones() -> None:
    bodies = rule_bodies()
    slow = {name for name, (_, body) in bodies.items() if re.search(r"^        gpu=", body, re.MULTILINE)}
    derived = {name for name, (origin, _) in bodies.items() if origin in {*slow, *PROFILE["set-resources"]}}
    assert slow | derived <= set(PROFILE["set-resources"])


def test_rules_that_size_their_memory_ask_for_more_at_each_attempt_and_are_not_overruled() -> None:
    sized = {name: body for name, (_, body) in rule_bodies().items() if "mem_mb=" in body}
    growing = re.compile(r"mem_mb=lambda w, attempt: attempt\s+\* ")
    assert "score" in sized and all(growing.search(body) for body in sized.values())
    kernels = {name for name, body in sized.items() if "scoring_mb(" in body}
    assert {"score", "sweep_lambda", "sweep_lds_lambda", "score_compressed", "score_fewer_timesteps"} <= kernels
    assert not [name for name in kernels if "mem_mb" in PROFILE["set-resources"][name]]


def test_profile_repeats_what_the_default_profile_sets() -> None:
    default = yaml.safe_load((PROJECT / "profiles" / "default" / "profile.yaml").read_text())
    # What is of this machine: SLURM hands out GPUs and memory itself.
    for key in ("__use_yte__", "__definitions__", "resources", "default-resources"):
        default.pop(key)
    assert {key: PROFILE[key] for key in default} == default


def test_profile_fits_any_site() -> None:
    assert {"slurm_account", "slurm_partition", "cpus_per_task"}.isdisjoint(PROFILE["default-resources"])
    assert "slurm-array-jobs" not in PROFILE


def test_no_rule_retries_by_itself() -> None:
    texts = [path.read_text() for path in [PROJECT / "Snakefile", *(PROJECT / "rules").glob("*.smk")]]
    assert not any(re.search(r"^\s+retries:", text, re.MULTILINE) for text in texts)
