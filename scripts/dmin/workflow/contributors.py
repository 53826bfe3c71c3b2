"""What is said of a game's contributors: the tables and figures that it can have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..catalogue.estimators import ESTIMATORS, estimator_names
from ..runtime.errors import UserError
from .games import FEW_PLAYERS, ONE_PER_PLAYER, Game, coalition_size
from .measures import Measures
from .runs import Run
from .values import canonical, pick


@dataclass(frozen=True)
class Contributors:
    """A game, and the run whose local methods are compared with estimators, if it names one."""

    game: Game
    run: Run | None

    @property
    def records(self) -> dict[str, str]:
        """The files that tell what every member did."""
        game = self.game
        return {"players": game.players, "coalitions": game.coalitions, "members": game.table("members")}

    @property
    def measures(self) -> Measures:
        """What is measured of the game's members."""
        return Measures(self.game)

    @property
    def methods(self) -> list[str]:
        """The local methods of the run."""
        return [method for method, _ in self.run.influence.shown] if self.run else []

    def scores(self, file: str = "scores.npy") -> list[str]:
        """Return the scores of each of them, at one width, or a file beside them."""
        return self.run.influence.shown_files(file) if self.run else []

    @property
    def interval(self) -> dict[str, Any]:
        """What intervals depend on."""
        return pick(self.game.settings, "bootstrap", "confidence", "seed")

    @property
    def curves(self) -> dict[str, Any]:
        """Which coalitions the curves ask for, by whose contributions, and the number of the first."""
        start = self.game.blocks("curve")[0].start if self.game.blocks("curve") else None
        asked = [list(entry) for entry in self.game.curve_coalitions]
        return canonical({"asked": asked, "behaviour": self.game.settings["behaviours"][0], "start": start})

    @property
    def curve_members(self) -> list[str]:
        """The table of the members of curves; none without curves."""
        return [self.game.table("curve_members")] if self.game.blocks("curve") else []

    @property
    def _fitted(self) -> bool:
        return bool(self.game.blocks("fit")) or self._exact

    @property
    def _exact(self) -> bool:
        return self.game.settings["coalitions"]["exact"]["all"]

    @property
    def _compared(self) -> bool:
        """Whether another trainer has coalitions of retrained members, beside the empty and the full one."""
        parts = [*(["exact"] if self._exact else []), "fit", "test"]
        trainers = [self.game.trainers(part) for part in parts]
        return any("retrain" in asked and len(asked) > 1 for asked in trainers)

    @property
    def tables(self) -> list[str]:
        """The names of all tables that the game can have."""
        if not self._fitted:
            return []
        has = {
            "contributions": True,
            "agreement": self._compared,
            "model_table": "models" in self.measures.tables and "cost" in self.measures.tables,
            "contributor_lds": self._exact or bool(self.game.blocks("test")),
            "exact": self._exact,
            "deletion": self._exact or bool(self.curve_members),
        }
        return [name for name, there in has.items() if there]

    @property
    def figures(self) -> list[str]:
        """The files of all figures that the game can have."""
        drawn = {
            "contributions": "contributions", "agreement": "agreement", "contributor_lds": "contributor_lds",
            "exact": "exact", "deletion": "deletion",
        }  # fmt: skip
        names = [figure for table, figure in drawn.items() if table in self.tables]
        # Without a behaviour on images nobody asked for them.
        pictured = any(self.measures.reads(behaviour) != "model" for behaviour in self.measures.behaviours)
        names += ["without_top"] if "contributions" in self.tables and pictured else []
        return [f"{self.game.folder}/figures/{name}.{form}" for name in names for form in ("svg", "png")]

    @property
    def pages(self) -> list[str]:
        """The page of the game's contributors."""
        return [f"{self.game.folder}/contributors.html"] if "contributions" in self.tables else []

    @property
    def images(self) -> list[str]:
        """The images of the members of which some lack one player and others none."""
        game = self.game
        trainer = game.trainers("exact")[0]
        parts = ["exact", *(["fit"] if trainer in game.trainers("fit") else [])]
        return [game.members("images", trainer, part, name) for part in parts for name in game.ranges(part)]


def _support(law: str, players: int, size: int) -> int:
    """Return how many coalitions a law that draws can give."""
    return math.comb(players, size) if law == "datamodel" else 2**players - 2


def _check_support(place: str, game: Game) -> None:
    """Refuse more different coalitions than there are, before Snakemake removes the table that is there."""
    players, settings = game.player_count or 0, game.settings["coalitions"]
    if players > FEW_PLAYERS:
        return
    held = {coalition_size(players, alpha): 0 for alpha in settings["test"]["alphas"]}
    for alpha in settings["test"]["alphas"]:
        size, count = coalition_size(players, alpha), settings["test"]["count"]
        held[size] += count
        if count > _support("datamodel", players, size):
            raise UserError(
                f"{place}.coalitions.test.count is {count}, but {players} players have "
                f"{_support('datamodel', players, size)} coalitions of {size}; lower it or make more players."
            )
    fit = settings["fit"]
    for law in fit["laws"]:
        size = coalition_size(players, fit["alpha"])
        left = _support(law, players, size) - (held.get(size, 0) if law == "datamodel" else sum(held.values()))
        if law not in ONE_PER_PLAYER and fit["count"] > left:
            raise UserError(
                f"{place}.coalitions.fit.count is {fit['count']}, but law {law} has {left} different coalitions of "
                f"{players} players beside those of the test; lower it or make more players."
            )


def check_contributors(found: Contributors) -> None:
    """Refuse a game of which nothing could be said.

    Raises:
        UserError: its run is of another model, an explorer is to show contributions that it does not have, it draws
            fewer coalitions than an estimator has unknowns, or its curves are of estimators that nobody knows.
    """
    place, game = f"games.{found.game.name}", found.game
    if found.run is not None and found.run.model.name != game.model.name:
        raise UserError(
            f"{place}.run is '{found.run.name}', a run of model {found.run.model.name}, but the game is on "
            f"{game.model.name}; name a run of that model or leave it out."
        )
    if game.settings["in_explorer"] and found.run is None:
        raise UserError(f"{place}.in_explorer is true, but {place}.run names no run whose explorer it is; name one.")
    if game.settings["in_explorer"] and "contributions" not in found.tables:
        raise UserError(
            f"{place}.in_explorer is true, but the game has no coalitions to fit an estimator on; set "
            f"{place}.coalitions.fit.laws, or in_explorer to false."
        )
    _check_support(place, game)
    fit, players = game.settings["coalitions"]["fit"], game.player_count or 0
    for law in fit["laws"]:
        for name, entry in ESTIMATORS.items():
            least = entry.unknowns[0] * players + entry.unknowns[1] if entry.unknowns else 0
            if law in entry.laws and fit["count"] < least:
                raise UserError(
                    f"{place}.coalitions.fit.count is {fit['count']}, but the estimator {name}, which has no ridge, "
                    f"needs {least} coalitions of law {law} for {players} players; raise it, or draw the law datamodel."
                )
    known = estimator_names(found.methods)
    for name in game.settings["coalitions"]["curve"]["estimators"]:
        if name not in known:
            raise UserError(
                f"{place}.coalitions.curve.estimators has {name}, which is none; choose among {', '.join(known)}."
            )
