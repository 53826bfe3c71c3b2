"""What a model generates without its top contributor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dmin.data.samples import sample_pixels
from dmin.figures.image_strips import plot_image_strips
from dmin.figures.style import save_figure
from dmin.games.coalitions import Coalitions
from dmin.games.contributions import read_contributions
from dmin.games.curves import rank_players
from dmin.runtime.errors import UserError

# Images of a row.
_SHOWN = 12
_RANKED_BY = (
    "exact_shapley", "shapley_by_size", "shapley", "permutation", "banzhaf", "datamodel", "leave_one_out",
)  # fmt: skip


def choose_rows(
    contributions: pd.DataFrame, coalitions: Coalitions, behaviour: str, generated: set[int]
) -> list[tuple[str, int]]:
    """Return labels and coalitions of a strip: everyone, and without the one that contributes most, and least.

    Of the coalitions without a player whose images there are, the largest is taken.

    Args:
        contributions: see :func:`dmin.games.contributions.fit_contributions`.
        behaviour: whose contributions count, as the config names it.
        generated: the coalitions with images.

    Raises:
        UserError: there are no images of everyone.
    """
    full = next(name for name in sorted(contributions["behaviour"].unique()) if name.startswith(behaviour))
    estimator = next(name for name in _RANKED_BY if name in set(contributions["estimator"]))
    names = contributions["player"].drop_duplicates().tolist()
    order = rank_players(contributions, estimator, full, names)
    numbers, sizes = coalitions.facts.index.to_numpy(), coalitions.member.sum(axis=1)
    there = np.isin(numbers, sorted(generated))
    everyone = np.flatnonzero(there & (sizes == len(names)))
    if not len(everyone):
        raise UserError("The game has no images of everybody's member; train coalition 1 of its exact part.")
    rows = [("Everyone", int(numbers[everyone[0]]))]
    for player in (order[0], order[-1]):
        places = np.flatnonzero(there & ~coalitions.member[:, player] & (sizes > 0))
        if len(places):
            place = places[np.argmax(sizes[places])]
            others = len(names) - 1 - int(sizes[place])
            label = f"Without {names[player]}" + (f" and {others} others" if others else "")
            rows.append((label, int(numbers[place])))
    return rows


def draw_without_top(
    contributions: Path, coalitions: Path, images: Sequence[Path], behaviour: str, outputs: Sequence[Path], dpi: int
) -> None:
    """Draw the same noises as everyone's member makes them, without the top contributor, and without the last one.

    Args:
        images: columns ``id, set, repeat, image``, ``set`` the coalition.
    """
    sets = {path: pd.unique(pq.read_table(path, columns=["set"])["set"].to_pandas()).tolist() for path in images}
    generated = {int(number) for numbers in sets.values() for number in numbers}
    rows = choose_rows(read_contributions(contributions), Coalitions.read(coalitions), behaviour, generated)
    strips = []
    for label, number in rows:
        path = next(path for path, numbers in sets.items() if str(number) in map(str, numbers))
        table = pd.read_parquet(path)
        found = table[(table["set"].astype(str) == str(number)) & (table["repeat"] == table["repeat"].min())]
        strips.append((label, list(sample_pixels(found.head(_SHOWN).reset_index(drop=True)))))
    save_figure(plot_image_strips(strips, "The same noise throughout a column"), outputs, dpi)
