"""Checks of games: one clear sentence for the first mistake."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from ..runtime.attributed import UNTRAINED_TEXT
from ..runtime.errors import UserError
from .checks import CORRECT_PATH, refuse_own_weights
from .games import BLOCK, MOST_EXACT, ONE_PER_PLAYER, PARTS, Game, coalition_size
from .measures import Measures


def check_game(measures: Measures) -> None:
    """Refuse a game that cannot be played.

    Raises:
        UserError: its players, coalitions, trainers, behaviours or exclusions cannot be.
    """
    game = measures.game
    place = f"games.{game.name}"
    if "retrain" in game.all_trainers or "sparsified" in game.all_trainers:
        refuse_own_weights(place, game.model)
    dataset = game.model.dataset
    if dataset.bucket_step:
        raise UserError(
            f"{place} measures images of one shape, but datasets.{dataset.name}.bucket_step is set; set it to null."
        )
    _check_players(place, game)
    _check_coalitions(place, game)
    _check_unlearning(place, game)
    _check_pruning(place, game)
    _check_behaviours(place, measures)
    _check_exclusions(place, game)


def _check_players(place: str, game: Game) -> None:
    players, count = game.settings["players"], game.player_count
    if count is None:
        raise UserError(
            f"{place}.players.by is {players['by']}, of which only the data tell how many there are; set players.count."
        )
    if players["count"] not in (None, count):
        raise UserError(
            f"{place}.players.count is {players['count']}, but {players['by']} gives {count} players; correct it or "
            "leave it out."
        )
    if count < 2:
        raise UserError(f"{place}.players has {count} player, and a share needs two; choose another column.")


def _check_coalitions(place: str, game: Game) -> None:
    coalitions, count = game.settings["coalitions"], game.player_count or 0
    if coalitions["exact"]["all"] and count > MOST_EXACT:
        raise UserError(
            f"{place}.coalitions.exact.all asks for every coalition of {count} players, above {MOST_EXACT}; set it to "
            "false or group the players."
        )
    fit, test = coalitions["fit"], coalitions["test"]
    drawn = [("fit.alpha", fit["alpha"])] if "datamodel" in fit["laws"] else []
    for key, alpha in drawn + [("test.alphas", alpha) for alpha in test["alphas"]]:
        if not 0 < coalition_size(count, alpha) < count:
            raise UserError(
                f"{place}.coalitions.{key} {alpha} of {count} players makes a coalition of "
                f"{coalition_size(count, alpha)}, which says nothing of any player; choose another share."
            )
    for alpha, other in combinations(sorted(test["alphas"]), 2):
        size, percent = coalition_size(count, alpha), round(100 * alpha)
        alike = f"{size} of {count} players" if size == coalition_size(count, other) else ""
        if not alike and percent == round(100 * other):
            alike = f"{percent} percent"
        if alike:
            raise UserError(
                f"{place}.coalitions.test.alphas has {alpha} and {other}, both {alike} and so the same test "
                "twice; leave one out."
            )
    for law in set(fit["laws"]) & set(ONE_PER_PLAYER):
        if count > BLOCK:
            raise UserError(
                f"{place}.coalitions.fit.laws has {law}, one coalition for each of {count} players, above {BLOCK}; "
                "leave it out or group the players."
            )
    if fit["stratified"] and game.settings["players"]["by"] != "sample":
        raise UserError(
            f"{place}.coalitions.fit.stratified draws a share of every subset, but players.by "
            f"{game.settings['players']['by']} has groups of one player there; set it to false."
        )
    for share in coalitions["curve"]["shares"] if coalitions["curve"]["estimators"] else []:
        if not 0 < round(share * count) < count:
            raise UserError(
                f"{place}.coalitions.curve.shares has {share}, which of {count} players removes "
                f"{round(share * count)}; choose another share."
            )
    ends = game.trainers("exact")
    for trainer in game.trainers("fit"):
        if trainer not in ends:
            raise UserError(
                f"{place}.coalitions.fit.trainers has {trainer}, which exact.trainers lacks, so that nobody knows what "
                "nobody and everybody are worth under it; add it there."
            )


def _check_unlearning(place: str, game: Game) -> None:
    pieces, size = game.model.settings["train"]["accumulation"], game.settings["unlearning"]["batch_size"]
    if pieces > size:
        raise UserError(
            f"{place}.unlearning.batch_size is {size}, below accumulation {pieces} of models.{game.model.name}.train; "
            "raise it."
        )
    if "unlearn" in game.all_trainers and game.model.text_values:
        raise UserError(
            f"{place} has the trainer unlearn, which trains the denoiser alone, but the adapter of models."
            f"{game.model.name}.weights changes text encoders too, and {UNTRAINED_TEXT}"
        )


def _check_pruning(place: str, game: Game) -> None:
    if "sparsified" not in game.all_trainers:
        return
    ratio, lora = game.settings["pruning"]["ratio"], game.model.settings["lora"]
    if game.model.settings["finetune"] == "full":
        if game.model.base.family.conditional:
            raise UserError(
                f"{place} has the trainer sparsified, but channels of the family {game.model.base.family.name} cannot "
                "be pruned; train an adapter, whose ranks can be, or take the trainer unlearn."
            )
    elif game.pruned_rank < 1:
        raise UserError(f"{place}.pruning.ratio {ratio} leaves nothing of an adapter of rank {lora['rank']}; lower it.")


def _check_behaviours(place: str, measures: Measures) -> None:
    game, settings = measures.game, measures.game.settings
    for behaviour in settings["behaviours"]:
        if "classifier" in measures.needs(behaviour):
            _check_classifier(place, f"behaviours has {behaviour}", settings["classifier"])
    _check_encoder(place, game)
    if settings["query"] >= settings["images"]["count"]:
        raise UserError(
            f"{place}.query is {settings['query']}, but members generate {settings['images']['count']} images; "
            "lower it."
        )
    if not game.model.dataset.counts.test:
        raise UserError(
            f"{place} takes prompts and a reference from the test set, but datasets.{game.model.dataset.name}."
            "train_fraction is 1 and leaves none; lower it."
        )
    if settings["reference"]["rows"] > game.model.dataset.counts.test:
        raise UserError(
            f"{place}.reference.rows is {settings['reference']['rows']}, more than the test set of "
            f"{game.model.dataset.name} has; lower it."
        )


def _check_encoder(place: str, game: Game) -> None:
    kind, path = game.settings["encoder"]["kind"], game.settings["encoder"]["path"]
    if kind == "inception" and path is None:
        raise UserError(
            f"{place}.encoder.kind is inception, but encoder.path is null; name the file of its weights, or set kind "
            "to efficientnet."
        )
    if kind != "inception" and path is not None:
        raise UserError(f"{place}.encoder.path is '{path}', which kind {kind} does not read; leave it out.")
    if path is not None and not Path(path).exists():
        raise UserError(f"{place}.encoder.path is '{path}', which does not exist; {CORRECT_PATH}.")
    if kind == "classifier":
        _check_classifier(place, "encoder.kind is classifier", game.settings["classifier"])


def _check_classifier(place: str, asked: str, path: str | None) -> None:
    if path is None:
        raise UserError(
            f"{place}.{asked}, which asks a classifier, but {place}.classifier is null; name its weights or choose "
            "another."
        )
    for file in (Path(path), Path(path).with_suffix(".json")):
        if not file.exists():
            raise UserError(f"{place}.classifier is '{path}', but '{file}' does not exist; {CORRECT_PATH}.")


def _check_exclusions(place: str, game: Game) -> None:
    held = {
        (trainer, number)
        for part in PARTS
        for trainer in game.trainers(part)
        for block in game.blocks(part)
        for number in range(block.start, block.start + block.count)
    }
    for trainer, number in game.left_out:
        if (trainer, number) not in held:
            raise UserError(
                f"{place}.exclude has {trainer}/{number}, a member that the game does not have; correct or leave "
                "it out."
            )
        if number < 2:
            raise UserError(
                f"{place}.exclude has {trainer}/{number}, the worth of {'everybody' if number else 'nobody'}, which "
                "all shares are taken from; train it at a lower learning rate instead."
            )
