"""The players of a game: who each training sample belongs to."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.data.samples import read_samples
from dmin.runtime.atomic import write_json, write_parquet
from dmin.runtime.errors import UserError

log = logging.getLogger(__name__)


class PlayerSettings(TypedDict):
    """The column that tells players apart, or ``sample``, and how many there are."""

    by: str
    count: int


@dataclass(frozen=True)
class Players:
    """The players in the order of their numbers.

    Attributes:
        names: of each.
        samples: the ids of the training samples of each.
        subsets: the subset of each that is one sample; empty for others.
    """

    names: Sequence[str]
    samples: Sequence[Sequence[str]]
    subsets: Sequence[str] = ()

    def kept(self, coalition: Sequence[bool] | np.ndarray) -> list[str]:
        """Return the samples of the players of a coalition ``[players]``."""
        return [name for part, there in zip(self.samples, coalition, strict=True) if there for name in part]


def take_players(train: Path, settings: PlayerSettings, out: Path) -> None:
    """Write the players of a training table: JSON with ``players`` (names), ``samples`` (ids of each) and ``subsets``.

    Players are numbered in the order of their names, single samples in that of the table. ``subsets`` is that of each
    single sample, and empty for other players.

    Raises:
        UserError: a sample belongs to nobody, or there are not as many players as the config says.
    """
    by = settings["by"]
    table = read_samples(train, ["id", "subset"] if by in ("sample", "subset") else ["id", "subset", by])
    if by == "sample":
        groups = {name: [name] for name in table["id"]}
    else:
        nobody = table[by].isna() | (table[by] == "")
        if nobody.any():
            raise UserError(
                f"Training sample '{table['id'][nobody].iloc[0]}' has no {by}, so it belongs to no player; give it "
                "one, or set players.by to another column."
            )
        groups = {str(name): rows["id"].tolist() for name, rows in table.groupby(by, sort=True)}
    if len(groups) != settings["count"]:
        raise UserError(
            f"The training samples have {len(groups)} players by {by}, where the config expects {settings['count']}; "
            "set players.count to it, or choose another column."
        )
    subsets = table["subset"].tolist() if by == "sample" else []
    write_json({"players": list(groups), "samples": list(groups.values()), "subsets": subsets}, out)
    log.info("%d players, of %s samples", len(groups), sorted({len(ids) for ids in groups.values()}))


def read_players(path: Path) -> Players:
    """Return what :func:`take_players` wrote."""
    given = json.loads(path.read_text(encoding="utf-8"))
    return Players(given["players"], given["samples"], given["subsets"])


def read_coalitions(path: Path) -> pd.DataFrame:
    """Return a table of coalitions by number, boolean ``[coalitions, players]``."""
    table = pd.read_parquet(path).set_index("coalition")
    columns = sorted((str(name) for name in table if _is_player(str(name))), key=lambda name: int(name[1:]))
    return table[columns].astype(bool)


def _is_player(column: str) -> bool:
    return column.startswith("p") and column[1:].isdigit()


def keep_samples(coalitions: Path, players: Path, span: tuple[int, int], out: Path, record: Path) -> None:
    """Write the samples of the coalitions ``span``, the last included; parquet with a row ``set, id`` for each.

    ``set`` is the number of the coalition. The record, JSON, holds a digest of the players of each coalition.

    Raises:
        UserError: the table lacks a coalition, or is of other players.
    """
    table, who = read_coalitions(coalitions), read_players(players)
    if len(table.columns) != len(who.names):
        raise UserError(
            f"'{coalitions}' is of {len(table.columns)} players, '{players}' of {len(who.names)}; delete both."
        )
    rows: list[tuple[int, str]] = []
    digests: dict[str, str] = {}
    for number in range(span[0], span[1] + 1):
        if number not in table.index:
            raise UserError(f"'{coalitions}' lacks coalition {number}; delete it and run again.")
        digests[str(number)] = coalition_digest(table.loc[number].to_numpy())
        rows += [(number, name) for name in who.kept(table.loc[number].to_numpy())]
    kept = pd.DataFrame(rows, columns=["set", "id"])
    write_parquet(kept.astype({"set": "int64", "id": "string"}), out)
    write_json(digests, record)
    log.info("coalitions %d to %d", *span)


def coalition_digest(coalition: np.ndarray) -> str:
    """Return a digest of which players are in a coalition ``[players]``."""
    return hashlib.sha256(np.packbits(coalition).tobytes()).hexdigest()[:16]


def require_same(coalitions: Path, records: Sequence[Path]) -> None:
    """Refuse members that were trained on other coalitions than the table has under their numbers.

    Raises:
        UserError: a coalition differs; its record is named.
    """
    table = read_coalitions(coalitions)
    for path in records:
        for number, digest in json.loads(path.read_text(encoding="utf-8")).items():
            if int(number) not in table.index or coalition_digest(table.loc[int(number)].to_numpy()) != digest:
                raise UserError(
                    f"Members of coalition {number} were trained on other players than '{coalitions}' lists; delete "
                    f"'{path}' and run again."
                )
