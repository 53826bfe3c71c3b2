"""The plan as text that reads well in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from dmin.runtime.attributed import WITH_TEXT

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def render_sizes(table: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Return the sizes of every run and width: as the paper counts them (float32), and as they are stored.

    Nothing in it depends on the machine or on a measurement.
    """
    sizes = (
        "uncompressed_bytes_per_sample", "uncompressed_total_bytes", "bytes_per_sample", "total_bytes", "cache_bytes",
        "index_bytes", "host_bytes", "device_bytes",
    )  # fmt: skip
    both = table.merge(costs, on=["run", "v"])
    header = ["run", "v", "P", "T", "samples", "evaluations", "uncompressed per sample", "uncompressed",
              "per sample", "total", "cache on disk", "index", "host memory", "device memory"]  # fmt: skip
    rows = [
        [
            row["run"], str(row["v"]), known(row["parameters"], "{:,}".format), str(row["timesteps"]),
            f"{row['samples']:,}", f"{row['evaluations']:,}", *(known(row[name], human_bytes) for name in sizes),
        ]
        for row in both.to_dict("records")
    ]  # fmt: skip
    return align(header, rows)


def render_time(costs: pd.DataFrame) -> str:
    """Return jobs and predicted hours of every run."""
    header = ["run", "jobs", "gradient jobs", "batch", "evaluations with queries", "of regions", "of maps",
              "per second", "hours", "throughput"]  # fmt: skip
    rows = []
    for row in costs.drop_duplicates("run").to_dict("records"):
        known = pd.notna(row["hours"])
        rows.append(
            [
                row["run"], f"{row['jobs']:,}", f"{row['gradient_jobs']:,}", str(row["gradient_batch"]),
                f"{row['evaluations_with_queries']:,}", _count(row["region_evaluations"]),
                _count(row["map_evaluations"]),
                f"{row['evaluations_per_second']:.4g}" if known else "?", f"{row['hours']:.3g}" if known else "?",
                row["throughput"] if known else "unknown: state plan.throughput",
            ]
        )  # fmt: skip
    return align(header, rows)


def render_text_parts(costs: pd.DataFrame) -> str:
    """Return a line for each run whose adapter has values in text encoders that are not attributed; '' for none."""
    return "\n".join(
        f"{row['run']}: {text_sentence(int(row['text_parameters']))}"
        for row in costs.drop_duplicates("run").to_dict("records")
        if row["selection"] != WITH_TEXT and pd.notna(row["text_parameters"]) and row["text_parameters"]
    )


def text_sentence(values: int) -> str:
    """Say what becomes of the values that an adapter has in text encoders, where they are not attributed."""
    return (
        f"{values:,} values of the adapter are in text encoders: applied, not attributed (gradients.parameters: "
        f"{WITH_TEXT} does both)"
    )


def known(number: int | None, shown: Callable[[int], str]) -> str:
    """Return a number as ``shown`` writes it, or a question mark where it is not known."""
    return shown(int(number)) if number is not None and pd.notna(number) else "?"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def human_bytes(count: int) -> str:
    """Return a number of bytes with a binary unit; two decimals below 100 and for TiB, else one; '' for 0."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    if not count:
        return ""
    digits = 0 if unit == 0 else 2 if value < 100 or unit == 4 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are as wide as their longest cell."""
    lines = [header, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])
