"""The named tables of the config, checked, as objects that rules ask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..runtime.errors import UserError, printable
from ..settings.config import BaseTraining, ClassifierTraining, Compute, Config
from ..settings.schema import fill_config, mend_config, read_schema
from .banks import Bank
from .base_checks import check_base
from .checks import check_dataset, check_model, check_rows
from .contributors import Contributors, check_contributors
from .datasets import Dataset
from .fitting import Fitting
from .game_checks import check_game
from .games import Game
from .measures import Measures
from .mistakes import Mistakes
from .models import Base, Model
from .named import Named
from .pooling import Pooling
from .run_checks import RUN_CHECKS, check_parameters
from .runs import Run
from .study_checks import check_bank, check_seeds
from .values import canonical, pick


@dataclass(frozen=True)
class Tables:
    """The tables of a config, in its order.

    Attributes:
        config: all settings, defaults filled in.
        root: the checkout.
        notices: what its reader should know, a sentence each.
        mistakes: what is wrong with it, a sentence each; there are none but in what a doctor examines.
    """

    config: Config
    root: Path
    datasets: Mapping[str, Dataset]
    bases: Mapping[str, Base]
    models: Mapping[str, Model]
    banks: Mapping[str, Bank]
    games: Mapping[str, Game]
    runs: Mapping[str, Run]
    base_trainings: Mapping[str, BaseTraining]
    classifier_trainings: Mapping[str, ClassifierTraining]
    notices: Sequence[str]
    mistakes: Sequence[str] = ()

    @property
    def compute(self) -> Compute:
        """Settings of speed, which no result depends on."""
        return self.config["compute"]

    @property
    def contributors(self) -> dict[str, Contributors]:
        """What is said of the contributors of every game."""
        found = {
            name: Contributors(game, self.runs[game.settings["run"]] if game.settings["run"] else None)
            for name, game in self.games.items()
        }
        return Named("games", found)

    @property
    def gpus(self) -> int:
        """GPUs that a heavy job asks for; a limit in the profile keeps such jobs apart."""
        return 0 if self.compute["device"] == "cpu" else 1

    @property
    def retraining_threads(self) -> int:
        """Threads of a job on many small models, of which several run side by side where there is no GPU."""
        return self.compute["threads"] if self.gpus else 1

    @property
    def measures(self) -> dict[str, Measures]:
        """What is measured of every game."""
        return Named("games", {name: Measures(game) for name, game in self.games.items()})

    def games_of(self, finetune: str) -> str:
        """Return a wildcard constraint that admits the games on models of a kind of fine-tuning."""
        return one_of(name for name, game in self.games.items() if game.model.settings["finetune"] == finetune)

    def base_of(self, wildcards: Any) -> Base:
        """Return the base of a job's model: from the wildcard ``base``, ``model``, ``bank``, ``game`` or ``run``."""
        if hasattr(wildcards, "base"):
            return self.bases[wildcards.base]
        if hasattr(wildcards, "model"):
            return self.models[wildcards.model].base
        if hasattr(wildcards, "bank"):
            return self.banks[wildcards.bank].model.base
        if hasattr(wildcards, "game"):
            return self.games[wildcards.game].model.base
        return self.runs[wildcards.run].model.base

    def models_of(self, finetune: str, own: bool = False) -> str:
        """Return a wildcard constraint that admits the models of a kind of fine-tuning, trained here or own."""
        return one_of(
            name
            for name, model in self.models.items()
            if model.settings["finetune"] == finetune and bool(model.settings["weights"]) == own
        )

    def runs_asking(self, *kinds: str) -> str:
        """Return a wildcard constraint that admits the runs whose queries are of these kinds."""
        return one_of(name for name, run in self.runs.items() if run.queries.kind in kinds)

    def studied(self, study: str) -> list[Run]:
        """Return the runs that have a study."""
        return [run for run in self.runs.values() if study in run.studies]

    @property
    def pooling(self) -> Pooling:
        """The runs with an LDS, pooled."""
        return Pooling([run.lds for _, run in sorted(self.runs.items()) if run.lds])

    @property
    def mapped(self) -> list[Run]:
        """The runs with influence maps."""
        return [run for run in self.runs.values() if "maps" in run.settings]

    @property
    def audited(self) -> list[Run]:
        """The runs whose training set is audited."""
        return [run for run in self.runs.values() if "audit" in run.settings]

    def figure_settings(self, *keys: str) -> dict[str, Any]:
        """Return the settings of figures that one depends on: its resolution, and ``keys``."""
        return canonical(pick(self.config["figures"], "dpi", *keys))


def open_tables(given: Mapping[str, Any], root: Path, spoilt: bool = False) -> Tables:
    """Return the tables of a config, or exit with the sentence that says what is wrong with it.

    Args:
        spoilt: as :func:`read_tables` has it.
    """
    try:
        return read_tables(given, root, spoilt)
    except UserError as error:
        # A WorkflowError would print the stack of the Snakefile below it.
        raise SystemExit(f"Error: {printable(str(error))}") from None


def read_tables(given: Mapping[str, Any], root: Path, spoilt: bool = False) -> Tables:
    """Return the tables of a config.

    Args:
        spoilt: return them in spite of mistakes, with these, and without the runs, banks and games that have one.

    Raises:
        UserError: it does not follow the schema or names what it does not define; or something in it cannot be, of
            which the first mistake is told, unless it is read ``spoilt``.
    """
    schema, mistakes = read_schema(root / "schemas" / "config.schema.yaml"), Mistakes()
    if spoilt:
        given, mistakes.found = mend_config(given, schema)
    try:
        config = fill_config(given, schema)
        tables = _build(config, root, Fitting(given), mistakes)
    except UserError as error:
        if not spoilt:
            raise
        # There is nothing to go on with; what was found before it is not lost.
        raise UserError(" ".join([*mistakes.found, str(error)])) from None
    banks = {name: bank for name, bank in tables.banks.items() if mistakes.check(check_bank, of=[bank])}
    runs = {name: run for name, run in tables.runs.items() if mistakes.check(*RUN_CHECKS, of=[run])}
    for run in runs.values():
        mistakes.check(check_seeds, of=[run, tables.runs])
    games = {name: game for name, game in tables.games.items() if mistakes.check(check_game, of=[Measures(game)])}
    # What a run shows of a game cannot be checked without the run.
    games = {name: game for name, game in games.items() if game.settings["run"] in (None, *runs)}
    for contributors in replace(tables, games=games).contributors.values():
        mistakes.check(check_contributors, of=[contributors])
    mistakes.check(Pooling.check, of=[replace(tables, runs=runs).pooling])
    mistakes.check(_check_plan, of=[config])
    if not spoilt:
        mistakes.tell()
    whole = replace(tables, banks=banks, mistakes=mistakes.found)
    return replace(whole, runs=Named("runs", runs), games=Named("games", games))


def _check_plan(config: Config) -> None:
    for name in config["plan"]["throughput"]:
        if name not in config["runs"]:
            raise UserError(
                f"plan.throughput names '{name}', which runs does not define; define it or correct the name."
            )
    for key in ("steps_per_second", "images_per_second"):
        for name in config["plan"][key]:
            if name not in config["games"]:
                raise UserError(
                    f"plan.{key} names '{name}', which games does not define; define it or correct the name."
                )


def one_of(names: Iterable[str]) -> str:
    """Return a wildcard constraint that admits these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def _build(config: Config, root: Path, fit: Fitting, mistakes: Mistakes) -> Tables:
    _check_references(config)
    datasets = {name: Dataset(name, canonical(entry)) for name, entry in config["datasets"].items()}
    bases = {name: Base(name, canonical(entry)) for name, entry in config["bases"].items()}
    models = {
        name: Model(name, canonical(entry), datasets[entry["dataset"]], bases[entry["base"]])
        for name, entry in config["models"].items()
    }
    # Before the runs, whose parameters are those of a model.
    for dataset in datasets.values():
        mistakes.check(check_dataset, check_rows, of=[dataset])
    for base in bases.values():
        mistakes.check(check_base, of=[base])
    for model in models.values():
        mistakes.check(check_model, of=[model, config["compute"]["train_processes"]])
    banks = {name: Bank(name, canonical(entry), models[entry["model"]]) for name, entry in config["banks"].items()}
    games = {name: Game(name, canonical(entry), models[entry["model"]]) for name, entry in config["games"].items()}
    runs = {
        name: Run(
            name,
            canonical(entry),
            models[entry["model"]],
            banks.get(entry["lds"]["bank"]) if "lds" in entry else None,
        )
        for name, entry in config["runs"].items()
    }
    runs = {name: fit(run) for name, run in runs.items() if mistakes.check(check_parameters, of=[run])}
    return Tables(
        config,
        root,
        datasets,
        bases,
        models,
        banks,
        games,
        runs,
        {name: canonical(entry) for name, entry in config["base_training"].items()},
        {name: canonical(entry) for name, entry in config["classifier_training"].items()},
        fit.notices,
    )


def _check_references(config: Config) -> None:
    """Refuse a name that the table it is of does not hold."""
    named = [
        *((f"models.{name}.dataset", entry["dataset"], "datasets") for name, entry in config["models"].items()),
        *((f"models.{name}.base", entry["base"], "bases") for name, entry in config["models"].items()),
        *((f"runs.{name}.model", entry["model"], "models") for name, entry in config["runs"].items()),
        *((f"banks.{name}.model", entry["model"], "models") for name, entry in config["banks"].items()),
        *((f"games.{name}.model", entry["model"], "models") for name, entry in config["games"].items()),
        *((f"games.{name}.run", entry["run"], "runs") for name, entry in config["games"].items() if entry["run"]),
        *(
            (f"runs.{name}.lds.bank", entry["lds"]["bank"], "banks")
            for name, entry in config["runs"].items()
            if "lds" in entry
        ),
    ]
    for key, value, table in named:
        if value not in config[table]:  # type: ignore[literal-required]
            raise UserError(f"{key} is '{value}', which {table} does not define; define it or correct the name.")
