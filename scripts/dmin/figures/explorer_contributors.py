"""Whose training images lists hold, and what contributors gave the model, as the explorer shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.evaluation.intervals import rate_interval
from dmin.figures.contributor_page import MOST_PLAYERS, Played, collect_contributions, largest_contributors
from dmin.figures.explorer_rankings import Listed, Ranked
from dmin.games.contributions import read_contributions
from dmin.games.players import read_players
from dmin.runtime.errors import UserError


@dataclass(frozen=True)
class Contributed:
    """A game on the model of a run.

    Attributes:
        played: its name and its behaviours, as its settings list them.
        owners: the player that each training image belongs to, by id.
        contributions: what players gave; None where nobody asked for it (:func:`fit_contributions`).
    """

    played: Played
    owners: Mapping[str, str]
    contributions: pd.DataFrame | None = None


def read_contributed(played: Played, players: Path, contributions: Path | None, train: Sequence[str]) -> Contributed:
    """Read a game, whose ``contributions`` may be none.

    Raises:
        UserError: a training image, of the ids ``train``, belongs to no player, or a file is torn.
    """
    given = read_players(players)
    owners = {name: player for player, ids in zip(given.names, given.samples, strict=True) for name in ids}
    for name in train:
        if name not in owners:
            raise UserError(
                f"The training image '{name}' belongs to no player of '{players}'; delete that file and run again."
            )
    return Contributed(played, owners, None if contributions is None else read_contributions(contributions))


def collect_contributed(game: Contributed, rankings: Mapping[str, Ranked], listed: Listed) -> dict[str, Any]:
    """Return a game as plain lists.

    Of more than 500 players those are kept whose contributions are the largest or, without any, whose images lists
    hold most of.

    Returns:
        ``game``; ``names`` and ``sizes`` (training images) of the players; ``owners``, by place of a training image
        the place of its player, -1 of one that is left out; ``shares``, by ranking and player ``[mean, low, high]``
        over the queries of the share of a list, each subset counting alike; ``measured``, None without contributions
        (:func:`collect_contributions`).
    """
    shares = {label: _shares(game.owners, ranking, listed) for label, ranking in rankings.items()}
    names = _kept(game, shares)
    places = {name: place for place, name in enumerate(names)}
    sizes = pd.Series(game.owners).value_counts()
    return {
        "game": game.played.game,
        "names": names,
        "sizes": [int(sizes[name]) for name in names],
        "owners": [places.get(game.owners[sample], -1) for sample in listed.places],
        "shares": [[_mean_share(table[name], listed) for name in names] for table in shares.values()],
        "measured": None
        if game.contributions is None
        else collect_contributions(game.contributions, names, game.played),
    }


def _shares(owners: Mapping[str, str], ranking: Ranked, listed: Listed) -> pd.DataFrame:
    """Return the share of each query's list that each player has, ``[queries, players]``; NaN where it has no list."""
    head = ranking.top[ranking.top["rank"] <= listed.shown]
    owner = head["sample_id"].map(lambda name: owners[str(name)])
    counts = pd.crosstab(head["query_id"].astype(str), owner)
    players = list(dict.fromkeys(owners.values()))
    counts = counts.reindex(index=list(listed.queries), columns=players).astype(float)
    return counts.fillna(0).div(counts.sum(axis=1).replace(0, np.nan), axis=0)


def _kept(game: Contributed, shares: Mapping[str, pd.DataFrame]) -> list[str]:
    if game.contributions is not None:
        return largest_contributors(game.contributions)
    names = list(dict.fromkeys(game.owners.values()))
    if len(names) <= MOST_PLAYERS:
        return names
    most = pd.concat(list(shares.values())).sum().sort_values(ascending=False, kind="stable")
    kept = set(most.index[:MOST_PLAYERS])
    return [name for name in names if name in kept]


def _mean_share(shares: pd.Series, listed: Listed) -> list[float] | None:
    told = pd.DataFrame({"share": shares.to_numpy(), "subset": list(listed.subsets)}).dropna(subset=["share"])
    groups: Sequence[np.ndarray] = [part["share"].to_numpy() for _, part in told.groupby("subset")]
    if not groups:
        return None
    mean = float(np.mean([part.mean() for part in groups]))
    return [round(value, 5) for value in (mean, *rate_interval(groups, listed.confidence))]
