"""The benchmark page, made from the benchmark's tables alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

_MODELS = {
    "embedded": "embedded example, LoRA r=4 (P = 32,768)",
    "ddpm_cifar": "CIFAR-10 DDPM, all parameters (P = 35,746,307)",
    "sd14_lora": "Stable Diffusion 1.4, LoRA r=4 (P = 797,184)",
    "sdxl_lora": "Stable Diffusion XL, LoRA r=4",
    "sd3_lora": "Stable Diffusion 3 medium, LoRA r=4 (P = 1,179,648)",
    "sd3_full": "Stable Diffusion 3 medium, transformer blocks (P = 2,008,851,456)",
}
_VARIANTS = {
    "loop": "loop: one sample, one timestep at a time",
    "hooks": "**dmin**, the paper's permutation sketch",
    "hooks_rolled": "**dmin**, rolled sketch",
    "batched": "plain batched forward + backward (limit)",
    "vmap": "torch.func vmap(grad)",
    "opacus": "Opacus",
}
_METHODS = {
    "read": "plain read (limit)",
    "rolled": "**dmin** rolled",
    "permutation": "**dmin** permutation",
    "gather": "int64 permutation gather, row by row",
}
_INTRODUCTION = """# Speed of per-sample gradients

Made by `python benchmarks/gradients.py --page-only` from the tables beside it; do not edit by hand.

An evaluation is the sketched, normalised gradient of one (sample, timestep). Variants run in turn within one process,
round after round; each figure comes from the median step. Memory is the peak of one step beyond the model and what a
variant keeps between steps, activations included. Latents and prompts are random and encoded beforehand; weights are
random unless the embedded base model is present. Every variant but the plain pass ends in a sketch.
"""

_ACCURACY = """## Accuracy of the sketch

Root mean square error of the cosine between centred per-sample gradients, over pairs and eight seeds; the ideal is
that of a count sketch with independent cells, sqrt((1 + cosine^2) / v). Widths below the widest are its folds.

"""

_PRECISION = """## Precision

Gradients of random inputs against the same in fp64: cosine, mean and least over the batch, and the worst relative error
of the norm. Losses, norms and sums are fp32 throughout; bf16 and fp16 are autocast.

"""


def write_page(folder: Path) -> None:
    """Write ``README.md`` in ``folder`` from the tables there."""
    parts = [_INTRODUCTION]
    gradients = folder / "gradients.csv"
    if gradients.is_file():
        for model, measured in pd.read_csv(gradients).groupby("model", sort=False):
            parts.append(f"## {_MODELS[str(model)]}\n")
            parts += [f"{device}\n\n{_gradient_table(rows)}" for device, rows in measured.groupby("device")]
    sketch = folder / "sketch.csv"
    if sketch.is_file():
        parts.append("## Throughput of the sketch\n")
        for device, rows in pd.read_csv(sketch).groupby("device"):
            parts.append(f"{device}; bytes of fp32 gradient per second\n\n{_sketch_table(rows)}")
    accuracy = folder / "sketch_accuracy.csv"
    if accuracy.is_file():
        parts.append(_ACCURACY + _accuracy_table(pd.read_csv(accuracy)))
    precision = folder / "precision.csv"
    if precision.is_file():
        parts.append(_PRECISION + _precision_table(pd.read_csv(precision)))
    (folder / "README.md").write_text("\n".join(parts))


def _gradient_table(rows: pd.DataFrame) -> str:
    lines = [
        "| variant | evaluations/s | of the limit | times the loop | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows.itertuples():
        name = _VARIANTS[str(row.variant)]
        if pd.isna(row.evaluations_per_second):
            lines.append(f"| {name} | does not run | | | |")
            continue
        lines.append(
            f"| {name} | {_rate(row.evaluations_per_second)} | {_ratio(row.ratio_to_batched)} | "
            f"{_ratio(row.ratio_to_loop)} | {row.peak_extra_bytes / 2**20:,.0f} MiB |"
        )
    return "\n".join(lines) + "\n"


def _sketch_table(rows: pd.DataFrame) -> str:
    lines = ["| P | width | rows | method | GB/s | of a read |", "|---:|---:|---:|---|---:|---:|"]
    for row in rows.itertuples():
        lines.append(
            f"| {row.parameters:,} | {row.width:,} | {row.batch} | {_METHODS[str(row.method)]} | "
            f"{row.gigabytes_per_second:.2f} | {row.fraction_of_read:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _accuracy_table(rows: pd.DataFrame) -> str:
    lines = ["| model | v | ideal | permutation | rolled |", "|---|---:|---:|---:|---:|"]
    table = rows.pivot(index=["model", "v", "expected"], columns="kind", values="rmse").reset_index()
    for row in table.sort_values(["model", "v"]).itertuples():
        name = _MODELS[str(row.model)]
        lines.append(f"| {name} | {row.v:,} | {row.expected:.4f} | {row.permutation:.4f} | {row.rolled:.4f} |")
    return "\n".join(lines) + "\n"


def _precision_table(rows: pd.DataFrame) -> str:
    lines = [
        "| model | hardware | precision | cosine, mean | cosine, least | norm error |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in rows.itertuples():
        lines.append(
            f"| {_MODELS[str(row.model)]} | {row.device} | {row.precision} | {row.cosine_mean:.7f} | "
            f"{row.cosine_least:.7f} | {row.norm_error_worst:.1e} |"
        )
    return "\n".join(lines) + "\n"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: object) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"
