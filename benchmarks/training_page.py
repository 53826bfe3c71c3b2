"""The table of training in docs/scaling.md, from the measurements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_part import SCALING, write_part

# What each training is, and which plain one it is compared with.
_NAMES = {
    "adapter, plain": ("LoRA adapter of the embedded example, plain loop", "adapter, plain"),
    "adapter": ("**dmin**", "adapter, plain"),
    "small adapter, plain": ("the same in batches of 16 (`config/banks.yaml`), plain loop", "small adapter, plain"),
    "small adapter": ("**dmin**, alone", "small adapter, plain"),
    "small adapter, together": ("**dmin**, {members} together", "small adapter, plain"),
    "small DDPM, plain": ("DDPM of 16 px (`config/lds.yaml`), plain loop", "small DDPM, plain"),
    "small DDPM": ("**dmin**, alone", "small DDPM, plain"),
    "small DDPM, together": ("**dmin**, {members} together", "small DDPM, plain"),
}


def write_training_table(table: pd.DataFrame, page: Path = SCALING) -> None:
    """Write the table between the marks ``<!-- training -->`` of the page."""
    write_part(page, "training", training_table(table))


def training_table(table: pd.DataFrame) -> str:
    """Return a row per training, with what the arithmetic alone would take at the speed of a matrix product."""
    milliseconds = table.set_index("case")["cpu_ms"]
    lines = [
        f"{table['device'].iloc[0]}; a product of two matrices of 1,024 runs at "
        f"{table.set_index('case').loc['matrix product', 'gflop_per_s']:.0f} GFLOP/s.",
        "",
        "| training | CPU ms a step and model | times the plain loop | GFLOP a step | these alone, ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in table[table["case"].isin(list(_NAMES))].to_dict("records"):
        name, plain = _NAMES[row["case"]]
        times = milliseconds[plain] / row["cpu_ms"]
        lines.append(
            f"| {name.format(members=row['members'])} | {row['cpu_ms']:.1f} | {times:.2f} | {row['flop'] / 1e9:.2f} | "
            f"{row['limit_ms']:.1f} |"
        )
    return "\n".join(lines) + "\n"
