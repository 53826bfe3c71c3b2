"""The table of a game's coalitions."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.games.laws import Law, keys
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_json
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)


class BlockSettings(TypedDict):
    """Coalitions ``start`` to ``start + count``, drawn from a law; ``alpha`` is None but for ``datamodel``.

    One that ``avoids`` passes over what the test holds.
    """

    part: str
    law: str
    start: int
    count: int
    alpha: float | None
    stratified: bool
    avoids: bool


def law_seed(seed: int, part: str) -> int:
    """Return the seed of the laws of a part of a game; a fit and its test draw different coalitions."""
    return derive_seed(seed, "coalitions", part)


def draw_coalitions(
    players: int, blocks: Sequence[BlockSettings], seed: int, strata: Sequence[Sequence[int]] = ()
) -> pd.DataFrame:
    """Return the coalitions of all blocks: ``coalition, part, law`` and a boolean column ``p0 ... p{n-1}`` per player.

    The laws of a fit of few players pass over what the test holds, so that no estimator is judged by a coalition that
    it was fitted on; of many, none would be drawn twice.

    Args:
        strata: numbers of players, of each of which a stratified block takes the same share.

    Raises:
        UserError: a law has too few coalitions, or cannot be of so many players.
    """
    drawn: list[tuple[BlockSettings, np.ndarray]] = []
    held: set[bytes] = set()
    # The test first: what it holds does not hang on the fit.
    for block in sorted(blocks, key=lambda block: block["part"] != "test"):
        # In exact arithmetic: .29 of 100 players are 29.
        size = math.floor(Fraction(str(block["alpha"] or 0)) * players)
        parts = tuple(map(tuple, strata)) if block["stratified"] else ()
        law = Law(block["law"], players, law_seed(seed, block["part"]), size, parts)
        member = law.draw(block["count"], held if block["avoids"] else ())
        held |= set(keys(member)) if block["part"] == "test" else set()
        drawn.append((block, member))
    drawn.sort(key=lambda pair: pair[0]["start"])
    counts = [len(member) for _, member in drawn]
    facts = pd.DataFrame(
        {
            "coalition": np.concatenate([np.arange(block["start"], block["start"] + len(m)) for block, m in drawn]),
            "part": np.repeat([block["part"] for block, _ in drawn], counts),
            "law": np.repeat([block["law"] for block, _ in drawn], counts),
        }
    )
    every = np.concatenate([member for _, member in drawn])
    return pd.concat([facts, pd.DataFrame(every, columns=[f"p{player}" for player in range(players)])], axis=1)


def write_coalitions(players: Path, blocks: Sequence[BlockSettings], seed: int, out: Path) -> None:
    """Draw the coalitions of a game; see :func:`draw_coalitions`.

    Args:
        players: JSON with ``samples``, the ids of each player, and ``subsets``, of players that are single samples.
    """
    given = read_json(players)
    strata: dict[str, list[int]] = {}
    for number, subset in enumerate(given["subsets"]):
        strata.setdefault(subset, []).append(number)
    table = draw_coalitions(len(given["samples"]), blocks, seed, list(strata.values()))
    write_parquet(table, out)
    log.info("%d coalitions of %d players", len(table), len(given["samples"]))


@dataclass(frozen=True)
class Coalitions:
    """Who is in the coalitions of a game.

    Attributes:
        facts: columns ``part, law``, indexed by the number of the coalition.
        member: boolean ``[coalitions, n]``, in the order of ``facts``.
    """

    facts: pd.DataFrame
    member: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Coalitions:
        """Read what :func:`write_coalitions` wrote.

        Raises:
            UserError: a coalition stands in both the fit and the test.
        """
        table = read_parquet(path).set_index("coalition")
        names = [f"p{player}" for player in range(len(table.columns) - 2)]
        found = cls(table[["part", "law"]], table[names].to_numpy(dtype=bool))
        fit, test = (keys(found.member[(found.facts["part"] == part).to_numpy()]) for part in ("fit", "test"))
        both = set(fit) & set(test)
        if both:
            place = keys(found.member).index(min(both))
            raise UserError(
                f"'{path}' has the coalition {found.facts.index[place]} in both the fit and the test, so that an "
                "estimator would be judged by what it was fitted on; remove the file and draw again."
            )
        return found
