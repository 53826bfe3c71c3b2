"""The tables of start-up in docs/scaling.md, from the measurements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_part import SCALING, write_part

# What is measured beside scripts.
INTERPRETER, DRY_RUN, RUN = "(interpreter)", "(dry run)", "(whole run)"


def write_startup_tables(table: pd.DataFrame, page: Path = SCALING) -> None:
    """Write the table between the marks ``<!-- startup -->`` of the page."""
    write_part(page, "startup", startup_table(table))


def startup_table(table: pd.DataFrame) -> str:
    """Return the example's share of starting, a row per script of the example, and a row per kind of the others."""
    seconds = table.set_index("script")["cpu_seconds"]
    scripts = table[~table["script"].str.startswith("(")].assign(kind=lambda rows: rows["imports"].map(_kind))
    used = scripts[scripts["jobs"] > 0].sort_values("cpu_seconds", ascending=False, kind="stable")
    total = float((used["jobs"] * used["cpu_seconds"]).sum())
    lines = [_share(seconds, int(used["jobs"].sum()), total), ""]
    lines += ["| script of the example | jobs | CPU-s | imports |", "|---|---:|---:|---|"]
    lines += [
        f"| `{row.script}` | {row.jobs} | {row.cpu_seconds:.2f} | {_named(row.imports)} |" for row in used.itertuples()
    ]
    lines += ["", "| all scripts | number | CPU-s, median | CPU-s, most |", "|---|---:|---:|---:|"]
    for kind in ("no library of models", "torch alone", "torch and diffusers"):
        rows = scripts.loc[scripts["kind"] == kind, "cpu_seconds"]
        if len(rows):
            lines.append(f"| {kind} | {len(rows)} | {rows.median():.2f} | {rows.max():.2f} |")
    return "\n".join(lines) + "\n"


def _share(seconds: pd.Series, jobs: int, total: float) -> str:
    text = f"The {jobs} jobs of the embedded example start in {total:.0f} CPU-seconds altogether"
    if RUN in seconds:
        text += f", {total / seconds[RUN]:.0%} of the {seconds[RUN]:.0f} of the whole run"
    return f"{text}; a bare interpreter takes {seconds[INTERPRETER]:.2f}, a dry run {seconds[DRY_RUN]:.1f}."


def _kind(imports: str) -> str:
    libraries = imports.split()
    if "diffusers" in libraries:
        return "torch and diffusers"
    return "torch alone" if "torch" in libraries else "no library of models"


def _named(imports: str) -> str:
    libraries = imports.split()
    # scipy is there wherever a part of it is.
    return ", ".join(name for name in libraries if name != "scipy" or "scipy.stats" not in libraries)
