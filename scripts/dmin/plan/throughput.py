"""How many gradients a second a run may expect, as stated or as measured by the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

# The benchmark's models, by attributed values and latent: only the same work is compared.
_CASES: dict[tuple[int, tuple[int, ...]], str] = {
    (32_768, (8, 8, 8)): "embedded",
    (35_746_307, (3, 32, 32)): "ddpm_cifar",
    (797_184, (4, 64, 64)): "sd14_lora",
    (1_179_648, (16, 64, 64)): "sd3_lora",
    (2_008_851_456, (16, 64, 64)): "sd3_full",
}
_VARIANTS = {"permutation": "hooks", "rolled": "hooks_rolled"}


@dataclass(frozen=True)
class Throughput:
    """Evaluations (one sample at one timestep) per second, and where the figure comes from."""

    per_second: float | None
    """None where nobody stated or measured it."""
    source: str


def find_throughput(
    stated: float | None, parameters: int | None, latent: tuple[int, ...], sketch_kind: str, measured: Path
) -> Throughput:
    """Return the stated throughput, else the fastest one measured for the same model, size and sketch.

    Args:
        parameters: P, the attributed values; None where they are not known.
        measured: the benchmark's table with ``model, device, variant, evaluations_per_second``; it may be missing.
    """
    if stated is not None:
        return Throughput(stated, "stated")
    case = None if parameters is None else _CASES.get((parameters, latent))
    if case is None or not measured.is_file():
        return Throughput(None, "unknown")
    table = pd.read_csv(measured)
    rows = table[(table["model"] == case) & (table["variant"] == _VARIANTS[sketch_kind])]
    if rows.empty:
        return Throughput(None, "unknown")
    fastest = rows.sort_values("evaluations_per_second").to_dict("records")[-1]
    return Throughput(float(fastest["evaluations_per_second"]), f"measured on {fastest['device']}")
