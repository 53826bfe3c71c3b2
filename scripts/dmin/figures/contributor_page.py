"""One offline page to browse the contributors of a game: their shares, and what their images look like."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from dmin.catalogue.estimators import ESTIMATORS
from dmin.data.samples import read_samples
from dmin.figures.estimators import behaviour_label, estimator_style, order_estimators
from dmin.figures.page_json import script_json
from dmin.figures.thumbnails import Thumbnails
from dmin.games.contributions import read_contributions
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError

# Training images that are shown of a player, and the pixels of each.
_SHOWN, _PIXELS = 8, 64
# Players that are shown with images; of single samples there may be many thousands.
MOST_PLAYERS = 500


@dataclass(frozen=True)
class Played:
    """What the page is about: a game, and its behaviours as its settings list them."""

    game: str
    behaviours: Sequence[str]

    def place(self, measured: str) -> tuple[int, str]:
        """Return where a measured behaviour stands: by the setting whose name it begins with, the longest that fits."""
        fits = [name for name in self.behaviours if measured == name or measured.startswith(f"{name}_")]
        return (self.behaviours.index(max(fits, key=len)) if fits else len(self.behaviours), measured)


@dataclass(frozen=True)
class PageFiles:
    """The tables that the page of a game is made from."""

    contributions: Path
    players: Path
    samples: Path


def collect_contributors(
    contributions: pd.DataFrame, held: dict[str, list[str]], samples: pd.DataFrame, played: Played
) -> dict[str, Any]:
    """Return what the page shows, as plain lists for JSON.

    Of more than 500 players those are kept whose share is among the largest of any estimator and behaviour.

    Args:
        contributions: see :func:`dmin.games.contributions.fit_contributions`.
        held: ids of the training samples of each player.
        samples: columns ``id, image{bytes,path}``.
        played: the page opens on the first behaviour of its list.

    Returns:
        ``game``, ``images`` (``[width, data URI]``), ``players`` (``[name, samples, images]``), ``behaviours`` and
        ``estimators`` (``[name, label, summary, source of members]``), and ``rows``: by behaviour and estimator, the
        ``[value, low, high, share]`` of every player, null where there is none.

    Raises:
        UserError: the table is empty.
    """
    if contributions.empty:
        raise UserError("The contributions table is empty, so its page has nothing to show; run its rule again.")
    names = largest_contributors(contributions)
    thumbnails, table = Thumbnails(), samples.set_index("id")["image"]
    players = []
    for name in names:
        shown = [thumbnails.add(table[sample], sample, _PIXELS) for sample in held[name][:_SHOWN]]
        players.append([name, len(held[name]), shown])
    return {
        "game": played.game,
        "images": [[width, uri] for width, uri in thumbnails.entries],
        "players": players,
        **collect_contributions(contributions, names, played),
    }


def collect_contributions(contributions: pd.DataFrame, names: Sequence[str], played: Played) -> dict[str, Any]:
    """Return ``behaviours``, ``estimators`` and ``rows``, as :func:`collect_contributors`, of the players ``names``."""
    estimators = order_estimators(contributions["estimator"].unique())
    facts = {str(row["estimator"]): row for row in contributions.drop_duplicates("estimator").to_dict("records")}
    rows: dict[str, dict[str, list[list[float | None]]]] = {}
    for (behaviour, estimator), part in contributions.groupby(["behaviour", "estimator"]):
        values = part.set_index("player").loc[list(names), ["value", "low", "high", "share"]].to_numpy(dtype=float)
        rows.setdefault(str(behaviour), {})[str(estimator)] = [[_number(cell) for cell in row] for row in values]
    return {
        "behaviours": [[name, behaviour_label(name)] for name in sorted(rows, key=played.place)],
        "estimators": [
            [name, estimator_style(name).label, _summary(name), _made_from(facts[name])] for name in estimators
        ],
        "rows": rows,
    }


def largest_contributors(contributions: pd.DataFrame) -> list[str]:
    """Return the players in the order of the table; of more than 500 those whose share is among the largest."""
    names = contributions["player"].drop_duplicates().tolist()
    if len(names) <= MOST_PLAYERS:
        return names
    size = contributions["share"].abs().groupby(contributions["player"]).max()
    kept = set(size.sort_values(ascending=False, kind="stable").index[:MOST_PLAYERS])
    return [name for name in names if name in kept]


def _summary(name: str) -> str:
    if name in ESTIMATORS:
        return ESTIMATORS[name].summary
    return "A baseline, in units of its own; no coalition is trained for it."


def _made_from(row: Mapping[Hashable, Any]) -> str:
    if not row["coalitions"]:
        return ""
    return f"{row['coalitions']} coalitions of law {row['law']}, members trained as {row['trainer']}"


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def write_contributor_page(given: PageFiles, played: Played, path: Path) -> None:
    """Write the page of a game as one self-contained HTML file, atomically.

    Raises:
        UserError: as :func:`collect_contributors`.
    """
    who = json.loads(given.players.read_text(encoding="utf-8"))
    held = dict(zip(who["players"], who["samples"], strict=True))
    data = collect_contributors(
        read_contributions(given.contributions), held, read_samples(given.samples, ["id", "image"]), played
    )
    source = files("dmin.figures").joinpath("contributor_page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(source).render(game=played.game, data=Markup(script_json(data)))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
