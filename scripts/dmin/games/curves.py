"""Removal and keep-only curves: who is left out, or left alone, by each estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmin.games.contributions import read_contributions
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError

REMOVE, KEEP = "remove", "keep"


def rank_players(contributions: pd.DataFrame, estimator: str, behaviour: str, names: Sequence[str]) -> np.ndarray:
    """Return the players from the one that contributes most to the least.

    What contributes is what moves the behaviour where everyone together moves it.

    Args:
        contributions: see :func:`fit_contributions`.
        names: of the players, in the order of their numbers.

    Raises:
        UserError: the table has no such estimator.
    """
    given = contributions[contributions["behaviour"] == behaviour]
    table = given[given["estimator"] == estimator]
    if table.empty:
        raise UserError(
            f"The contributions have no estimator '{estimator}', by which a curve removes players; have the game draw "
            f"its law, or choose one of {', '.join(sorted(given['estimator'].unique()))}."
        )
    # A share is positive where a player moves the behaviour as everyone does; a baseline has the sign of that itself.
    size = given.loc[given["estimator"] == "size", "value"]
    direction = 1.0 if size.empty or size.iloc[0] > 0 else -1.0
    values = table.set_index("player").loc[list(names), "value"].to_numpy()
    return np.argsort(-direction * values, kind="stable")


def curve_coalition(order: np.ndarray, kind: str, removed: int) -> np.ndarray:
    """Return the coalition ``[n]`` without the first ``removed`` players of an order, or of them alone."""
    member = np.full(len(order), kind == REMOVE)
    member[order[:removed]] = kind == KEEP
    return member


def choose_curves(
    contributions: pd.DataFrame, asked: Sequence[tuple[str, str, float]], behaviour: str, start: int
) -> pd.DataFrame:
    """Return the coalitions of the curves that are asked for; columns as :func:`draw_coalitions`.

    Args:
        asked: estimator, ``remove`` or ``keep``, and share of the players, of each coalition in turn.
        behaviour: the behaviour, as the config names it, whose contributions count.
        start: the number of the first coalition.

    Raises:
        UserError: as :func:`rank_players`.
    """
    full = next((name for name in sorted(contributions["behaviour"].unique()) if name.startswith(behaviour)), behaviour)
    names = contributions["player"].drop_duplicates().tolist()
    rows = [
        curve_coalition(rank_players(contributions, estimator, full, names), kind, round(share * len(names)))
        for estimator, kind, share in asked
    ]
    facts = pd.DataFrame({"coalition": np.arange(start, start + len(rows)), "part": "curve", "law": "curve"})
    return pd.concat([facts, pd.DataFrame(rows, columns=[f"p{place}" for place in range(len(names))])], axis=1)


def write_curves(
    contributions: Path, asked: Sequence[tuple[str, str, float]], behaviour: str, start: int, out: Path
) -> None:
    """Write the table of :func:`choose_curves` as parquet."""
    given = read_contributions(contributions)
    write_parquet(
        choose_curves(
            given, [(str(estimator), str(kind), float(share)) for estimator, kind, share in asked], behaviour, start
        ),
        out,
    )
