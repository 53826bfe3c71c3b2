"""What share of the selected parameters each gradient path carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dmin.gradients.sites import Site


@dataclass(frozen=True)
class CoverageRow:
    """One gradient path and what it carries."""

    path: str
    """Rule that computes the gradient, ``autograd`` for the exact fallback, ``a+b`` where two paths share a tensor."""
    tensors: int
    parameters: int
    share: float
    """Fraction of all selected parameters, in ``(0, 1]``; the shares of a report sum to 1."""


def report_coverage(sites: Iterable[Site], sizes: dict[str, int]) -> tuple[CoverageRow, ...]:
    """Return one row per path, largest share first. ``sizes``: number of elements of every selected tensor."""
    paths: dict[str, set[str]] = {name: set() for name in sizes}
    for site in sites:
        for name in site.names.values():
            paths[name].add(site.path)
    groups: dict[str, list[str]] = {}
    for name, used in paths.items():
        groups.setdefault("+".join(sorted(used)), []).append(name)
    total = sum(sizes.values())
    rows = []
    for path, names in groups.items():
        count = sum(sizes[name] for name in names)
        rows.append(CoverageRow(path, len(names), count, count / total))
    return tuple(sorted(rows, key=lambda row: (-row.parameters, row.path)))
