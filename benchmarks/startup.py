"""Measure what each script costs before it works: CPU-seconds from the start of its interpreter to its last import.

Usage: ``python benchmarks/startup.py``, or ``--scripts score explorer`` for some. It updates
``benchmarks/results/startup.csv`` and the tables of ``docs/scaling.md``. ``--run`` runs the embedded example as well,
some seven minutes on two cores, for the share of its CPU time that starting takes; else the run measured last counts.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from startup_page import DRY_RUN, INTERPRETER, RUN, write_startup_tables

from dmin.runtime.meter import hardware_label

log = logging.getLogger("benchmark")

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS, RESULTS = ROOT / "scripts", ROOT / "benchmarks" / "results"
# The libraries that take longest, which the table names where a script imports them.
LIBRARIES = ("torch", "diffusers", "transformers", "datasets", "matplotlib", "scipy.stats", "scipy", "pandas")
# What a job of Snakemake defines and imports before its script.
_PREAMBLE = """
from types import SimpleNamespace
snakemake = SimpleNamespace(rule="")
from snakemake.logging import logger
from snakemake.iocontainers import Snakemake
"""
# A module that is left unread until it is used has a type of its own.
_MEASURED = f"""
import resource, sys
used = resource.getrusage(resource.RUSAGE_SELF)
kinds = {{name: type(sys.modules.get(name)).__name__ for name in {LIBRARIES!r}}}
print(used.ru_utime + used.ru_stime, *(name for name, kind in kinds.items() if kind not in ("NoneType", "_Unread")))
"""
_SCRIPT = re.compile(r"scripts/(\w+)\.py")
# What Snakemake sets to the threads of a rule.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Run the benchmark from the command line."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    table = options.out / "startup.csv"
    if not options.page_only:
        counts = example_jobs()
        rows = measure(options.scripts or sorted(path.stem for path in SCRIPTS.glob("*.py")), options.rounds)
        rows.append({"script": DRY_RUN, "cpu_seconds": _dry_run_seconds(options.rounds), "imports": ""})
        if options.run:
            rows.append({"script": RUN, "cpu_seconds": _run_seconds(), "imports": ""})
        found = pd.DataFrame(rows).assign(device=hardware_label())
        if table.exists():
            found = pd.concat([pd.read_csv(table, keep_default_na=False), found]).drop_duplicates("script", keep="last")
        found["jobs"] = [counts.get(script, 0) for script in found["script"]]
        options.out.mkdir(parents=True, exist_ok=True)
        columns = ["script", "jobs", "cpu_seconds", "imports", "device"]
        found.sort_values("script")[columns].to_csv(table, index=False, float_format="%.3f")
    if options.out == RESULTS:
        write_startup_tables(pd.read_csv(table, keep_default_na=False))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what each script costs before it works.")
    parser.add_argument("--scripts", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is started, in turn; the median counts")
    parser.add_argument("--run", action="store_true", help="run the embedded example too, for its CPU time")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(scripts: list[str], rounds: int) -> list[dict[str, Any]]:
    """Start each script ``rounds`` times, in turn, and return its median CPU-seconds and which libraries it imports."""
    codes = {INTERPRETER: "", **{name: _PREAMBLE + opening(SCRIPTS / f"{name}.py") for name in scripts}}
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    imports, threaded = dict[str, str](), threaded_scripts()
    for _ in range(rounds):
        for name, code in codes.items():
            threads = str(os.cpu_count() if name in threaded else 1)
            environment = {**os.environ, **dict.fromkeys(_THREADS, threads)}
            command = [sys.executable, "-c", code + _MEASURED]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
            taken, *libraries = done.stdout.split()
            seconds[name].append(float(taken))
            imports[name] = " ".join(libraries)
    rows = [
        {"script": name, "cpu_seconds": statistics.median(seconds[name]), "imports": imports[name]} for name in codes
    ]
    for row in rows:
        log.info("%6.2f s %-30s %s", row["cpu_seconds"], row["script"], row["imports"])
    return rows


def opening(script: Path) -> str:
    """Return the imports at the top of a script, as code."""
    body = ast.parse(script.read_text(encoding="utf-8")).body
    return "".join(ast.unparse(node) + "\n" for node in body if isinstance(node, ast.Import | ast.ImportFrom))


def example_jobs() -> dict[str, int]:
    """Return how many jobs of each script a whole run of the embedded example has."""
    with checkout() as folder:
        done = _snakemake(folder, "--dry-run")
    counted = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    scripts, jobs = rule_scripts(), dict[str, int]()
    for rule, count in dict(counted).items():
        if rule in scripts:
            jobs[scripts[rule]] = jobs.get(scripts[rule], 0) + int(count)
    return jobs


def rule_scripts() -> dict[str, str]:
    """Return the script of each rule, that of the rule that it is made from where it names none."""
    scripts, above = dict[str, str](), dict[str, str]()
    for rule, origin, body in _rules():
        named = _SCRIPT.search(body)
        if named:
            scripts[rule] = named[1]
        elif origin:
            above[rule] = origin
    for rule, origin in above.items():
        while origin in above:
            origin = above[origin]
        if origin in scripts:
            scripts[rule] = scripts[origin]
    return scripts


def threaded_scripts() -> set[str]:
    """Return the scripts that the config gives threads, of which the example takes as many as there are cores."""
    bodies = [body for _, _, body in _rules() if re.search(r"^    threads:", body, re.MULTILINE)]
    return {named[1] for named in map(_SCRIPT.search, bodies) if named}


def _rules() -> Iterator[tuple[str, str | None, str]]:
    """Yield the name of each rule, that of the rule it is made from where there is one, and its text."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    head = re.compile(r"^(?:(?:rule|checkpoint) (\w+)|use rule (\w+) as (\w+) with):$", re.MULTILINE)
    starts = [*head.finditer(text)]
    for start, stop in zip(starts, [*(match.start() for match in starts[1:]), len(text)], strict=True):
        yield start[1] or start[3], start[2], text[start.end() : stop]


def _dry_run_seconds(rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        with checkout() as folder:
            before = _children()
            _snakemake(folder, "--dry-run", "--quiet")
            seconds.append(_children() - before)
    return statistics.median(seconds)


def _run_seconds() -> float:
    """Return the CPU-seconds of a whole run of the example, Snakemake's among them."""
    with checkout() as folder:
        before = _children()
        _snakemake(folder)
        return _children() - before


@contextmanager
def checkout() -> Iterator[Path]:
    """Yield a copy of the workflow in which nothing was made yet."""
    with tempfile.TemporaryDirectory(prefix="dmin-startup-") as folder:
        for name in ("config", "envs", "profiles", "report", "resources", "rules", "schemas", "scripts"):
            shutil.copytree(ROOT / name, Path(folder, name))
        shutil.copy(ROOT / "Snakefile", folder)
        yield Path(folder)


def _snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *arguments]
    # The library of the copy, whichever is installed.
    places = {**os.environ, "PYTHONPATH": str(folder / "scripts")}
    return subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True, env=places)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
