"""Faults that are planted in a training set on purpose, so that it is known what an audit should find."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dmin.data.assembled_row import AssembledRow
from dmin.data.planted_images import TRANSFORMS
from dmin.data.subsets import NOISE_SUBSET
from dmin.runtime.seeds import derive_seed

# In the order in which rows are taken for them.
FAULTS = ("swapped_captions", "flipped_labels", "exact_duplicates", "transformed_duplicates", "foreign", "blank")


@dataclass(frozen=True)
class Fault:
    """A planted fault: the ``sample`` that has it, and the sample ``of`` which it has what is not its own."""

    sample: str
    fault: str
    of: str


@dataclass(frozen=True)
class _Sets:
    """What faults are made from: all rows of the training set, those that are left alone, and the test set."""

    train: Sequence[AssembledRow]
    clean: Sequence[int]
    test: Sequence[AssembledRow]
    generator: np.random.Generator


def plant_faults(
    train: Sequence[AssembledRow], test: Sequence[AssembledRow], shares: Mapping[str, float], seed: int
) -> tuple[list[AssembledRow], list[Fault]]:
    """Return the rows of a training set with faults in them, and what was planted.

    No row has two faults; noised copies have none. A caption is swapped with that of another subset. A label is
    flipped to another subset, caption and image kept. A duplicate has image, caption and label of a faultless row of
    its subset, the image changed where it is transformed. A foreign image is one of the test set's of another subset,
    under caption and label of the row. A blank image is grey.

    Args:
        train, test: the rows of both sets; those of the test set stay as they are.
        shares: of the training rows that get each fault, by its name in :data:`FAULTS`. They count as the decimals
            that they are written as: 0.29 of 100 rows is 29, which floating point would floor to 28.
        seed: of the choice.
    """
    generator = np.random.default_rng(derive_seed(seed, "plant"))
    order = [int(place) for place in generator.permutation(len(train)) if train[place].subset != NOISE_SUBSET]
    counts = {fault: math.floor(Fraction(str(shares.get(fault, 0))) * len(order)) for fault in FAULTS}
    ends = np.cumsum(list(counts.values()))
    chosen = {fault: order[end - count : end] for (fault, count), end in zip(counts.items(), ends, strict=True)}
    sets = _Sets(train, order[ends[-1] :], test, generator)
    rows, planted = list(train), []
    for fault, places in chosen.items():
        for place, row, of in _PLANT[fault](sets, places):
            rows[place] = row
            planted.append(Fault(row.id, fault, of))
    return rows, planted


_Changed = list[tuple[int, AssembledRow, str]]


def _swap(sets: _Sets, places: Sequence[int]) -> _Changed:
    """Pair each row with one of another subset: sorted by subset, they are at least the largest subset apart."""
    ordered = sorted(places, key=lambda place: sets.train[place].subset)
    largest = max(Counter(sets.train[place].subset for place in places).values(), default=0)
    changed = []
    for position, place in enumerate(ordered):
        row, other = sets.train[place], sets.train[ordered[(position + largest) % len(ordered)]]
        if other.subset != row.subset:
            changed.append((place, replace(row, prompt=other.prompt), other.id))
    return changed


def _flip(sets: _Sets, places: Sequence[int]) -> _Changed:
    examples = {row.subset: row for row in sets.train if row.subset != NOISE_SUBSET}
    changed = []
    for place in places:
        row = sets.train[place]
        name = sets.generator.choice(sorted(set(examples) - {row.subset}))
        # The label of a subset is its own only where subsets are classes.
        label = examples[name].label if row.label == row.subset else row.label
        changed.append((place, replace(row, subset=str(name), label=label), examples[name].id))
    return changed


def _duplicate(sets: _Sets, places: Sequence[int], changes: Sequence[str]) -> _Changed:
    changed = []
    for place in places:
        row = sets.train[place]
        same = [other for other in sets.clean if sets.train[other].subset == row.subset]
        if same:
            of = sets.train[int(sets.generator.choice(same))]
            change = str(sets.generator.choice(changes))
            copied = replace(row, prompt=of.prompt, label=of.label, original=of.original, change=change)
            changed.append((place, copied, of.id))
    return changed


def _foreign(sets: _Sets, places: Sequence[int]) -> _Changed:
    changed = []
    for place in places:
        row = sets.train[place]
        others = [other for other in sets.test if other.subset not in (row.subset, NOISE_SUBSET)]
        if others:
            of = others[int(sets.generator.integers(len(others)))]
            changed.append((place, replace(row, original=of.original), of.id))
    return changed


_PLANT: Mapping[str, Callable[[_Sets, Sequence[int]], _Changed]] = {
    "swapped_captions": _swap,
    "flipped_labels": _flip,
    "exact_duplicates": lambda sets, places: _duplicate(sets, places, [""]),
    "transformed_duplicates": lambda sets, places: _duplicate(sets, places, TRANSFORMS),
    "foreign": _foreign,
    "blank": lambda sets, places: [(place, replace(sets.train[place], change="blank"), "") for place in places],
}
