"""Work cut into ranges, one for each job."""

from __future__ import annotations


def cut_ranges(count: int, size: int, first: int = 0) -> list[str]:
    """Return the names of the ranges that cut ``count`` samples or trainings from ``first`` on, ``size`` in each."""
    stop = first + count
    return [f"{start:08d}-{min(start + size, stop):08d}" for start in range(first, stop, size)]


def range_ends(name: str) -> tuple[int, int]:
    """Return the first place of a range and the one after its last."""
    start, stop = map(int, name.split("-"))
    return start, stop


def repeated_in(name: str, repeats: int) -> range:
    """Return the numbers of what a range holds repeats of, where each stands there ``repeats`` times in a row."""
    start, stop = range_ends(name)
    return range(start // repeats, (stop - 1) // repeats + 1)
