"""Train a model again on each of several sets of its training samples."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pandas as pd

from dmin.models.encoded import EncodedSamples
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model, write_untrained
from dmin.models.training.train_together import DivergedTogetherError, train_together, trains_together
from dmin.retraining.members import Member, Retrainings, weights_name
from dmin.runtime.atomic import write_json
from dmin.runtime.attributed import require_denoiser
from dmin.runtime.digests import config_digest, file_digest
from dmin.runtime.errors import DivergedError, UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.provenance import made_by
from dmin.runtime.seeds import derive_seed
from dmin.runtime.sidecar import discard_others, only_writer
from dmin.settings.models import Train

log = logging.getLogger(__name__)

# Retrainings that are trained together: more take no less time each.
TOGETHER = 8
SAMPLES = "samples.safetensors"


def trained_rows(ids: Sequence[str], listed: Iterable[str], removes: bool) -> list[int]:
    """Return the rows of ``ids`` that are listed, or with ``removes`` those that are not.

    Raises:
        UserError: a listed sample is not among ``ids``.
    """
    names = set(listed)
    if unknown := sorted(names.difference(ids)):
        raise UserError(
            f"A set of retrainings lists the sample '{unknown[0]}', which is not in the training set; make both from "
            "one data set."
        )
    return [row for row, name in enumerate(ids) if (name in names) != removes]


def member_recipe(recipe: Recipe, share: float, seed: int, repeat: int) -> Recipe:
    """Return the recipe of a retraining that has a ``share`` of the model's steps.

    The share of the samples gives as many epochs as the model had.

    Its seed depends on the repeat and not on the set, so all sets start from the same weights.
    """
    train = recipe.model["train"]
    steps = max(1, round(train["steps"] * share))
    changed: Train = {**train, "steps": steps, "seed": derive_seed(seed, "retraining", repeat), "checkpoints": []}
    return replace(recipe, model={**recipe.model, "train": changed})


class Bank:
    """The retrainings of one job: their samples and recipes, and which of them are trained together.

    Args:
        encoded: all training samples.
        table: the sets, columns ``set, id``.
    """

    def __init__(self, encoded: EncodedSamples, table: pd.DataFrame, recipe: Recipe, retrainings: Retrainings) -> None:
        self.encoded, self._recipe, self._bank = encoded, recipe, retrainings.bank
        self.members = list(retrainings)
        removes = self._bank.get("removes", False)
        self._rows = {
            number: trained_rows(encoded.ids, table.loc[table["set"] == number, "id"], removes)
            for number in {member.set for member in self.members}
        }

    def rows(self, member: Member) -> list[int]:
        """Return the rows of the samples that a retraining has."""
        return self._rows[member.set]

    def recipe(self, member: Member) -> Recipe:
        """Return the recipe of a retraining."""
        share = len(self.rows(member)) / len(self.encoded.ids)
        steps = self._bank.get("budget") == "steps"
        return member_recipe(self._recipe, 1.0 if steps else share, self._bank["seed"], member.repeat)

    def groups(self, device: str) -> Iterator[list[Member]]:
        """Yield the retrainings in order: those that are trained together in one list, each other one alone.

        Together are ``TOGETHER`` of neighbouring numbers from a multiple of that, if this job has all of them and
        each takes as many steps. So rounding depends neither on what is done already nor on jobs of several such.
        """
        able: bool | None = None
        for _, members in groupby(self.members, lambda one: (one.set * self._bank["seeds"] + one.repeat) // TOGETHER):
            group = list(members)
            if len(group) == TOGETHER and self._alike(group):
                able = trains_together(self._recipe, self.encoded, device) if able is None else able
                if able:
                    yield group
                    continue
            yield from ([member] for member in group)

    def _alike(self, group: Sequence[Member]) -> bool:
        steps = {self.recipe(member).model["train"]["steps"] for member in group}
        return len(steps) == 1 and all(self.rows(member) for member in group)

    def diverged(self, member: Member, error: DivergedError) -> DivergedError:
        """Return the error that names a retraining, and how to leave its set out."""
        advice = self._bank.get("advice", "add {set} to the bank's exclude").format(set=member.set)
        return DivergedError(f"Retraining {member.name} failed: {error} To go on without its set, {advice}.")


def retrain_subsets(
    samples: Path, sets: Path, recipe: Recipe, retrainings: Retrainings, out: Path, pace: TrainingPace
) -> list[float]:
    """Train some retrainings of a bank into the folder ``out``: one after another, or small ones on a CPU together.

    A retraining has a folder of its name with its weights and ``model.json``. Finished ones and the state of the one
    under way are kept in a sidecar until all are done, so a killed job loses at most ``save_every`` steps. A set
    without samples gives an untrained model: see :func:`write_untrained`.

    Args:
        samples: the encoded training samples.
        sets: see :func:`write_sets`; or, with ``removes``, :func:`write_removals`.

    Returns:
        The seconds of every retraining that this call did not find done.

    Raises:
        DivergedError: a training diverged; the message names it, and how to leave its set out.
        UserError: another process trains the same ones, the end was asked for, or what they go on with is an adapter
            that changes text encoders too.
    """
    if recipe.start is not None:
        require_denoiser(recipe.start)
    bank = Bank(EncodedSamples.load(samples), read_parquet(sets), recipe, retrainings)
    key = config_digest(
        dict(recipe.model),
        dict(retrainings.bank),
        *recipe.made_from().values(),
        file_digest(samples),
        file_digest(sets),
        made_by(pace.code),
    )
    work = out.parent / ".resume" / f"{out.name}-{key}"
    seconds: list[float] = []
    with only_writer(out.parent / ".resume", out.name):
        work.mkdir(parents=True, exist_ok=True)
        done, count = 0, len(bank.members)
        for group in bank.groups(pace.device):
            done += len(group)
            if all((work / member.name / "model.json").exists() for member in group):
                # A kill may have come between the end of a retraining and the removal of what only it needed.
                shutil.rmtree(work / group[0].name / "rest", ignore_errors=True)
                continue
            start = time.monotonic()
            _train_group(bank, group, work, pace)
            seconds += [(time.monotonic() - start) / len(group)] * len(group)
            each = sum(seconds) / len(seconds)
            left = each * (count - done)
            log.info("%s: %d of %d trained, %.0f s each, %.0f s to go", group[-1].name, done, count, each, left)
        write_json({"members": [member.name for member in bank.members], "key": key}, work / "bank.json")
        if out.exists():
            shutil.rmtree(out)
        work.replace(out)
        discard_others(out.parent / ".resume", f"{out.name}-", key)
    return seconds


def _train_group(bank: Bank, group: Sequence[Member], work: Path, pace: TrainingPace) -> None:
    tasks = [_task(bank, member, work / member.name) for member in group]
    try:
        if len(tasks) > 1:
            train_together(tasks, pace, work / group[0].name / "rest" / "together")
        elif bank.rows(group[0]):
            train_model(tasks[0], pace)
        else:
            write_untrained(tasks[0], pace.device)
    except DivergedTogetherError as error:
        raise bank.diverged(group[error.place], error) from error
    except DivergedError as error:
        raise bank.diverged(group[0], error) from error
    # The state of models that were trained together lies with the first, which is therefore finished last.
    for member in reversed(group):
        folder = work / member.name
        (folder / SAMPLES).unlink(missing_ok=True)
        # Of a training alone that was cut short, before its device or the job's range was another.
        shutil.rmtree(folder / ".resume", ignore_errors=True)
        # What says that this retraining is done comes last.
        (folder / "rest" / "model.json").replace(folder / "model.json")
        shutil.rmtree(folder / "rest")


def _task(bank: Bank, member: Member, folder: Path) -> TrainingTask:
    folder.mkdir(exist_ok=True)
    recipe, samples, rest = bank.recipe(member), folder / SAMPLES, folder / "rest"
    if not samples.exists():
        bank.encoded.take(bank.rows(member)).save(samples)
    files = TrainingFiles(
        weights=folder / weights_name(recipe.model["finetune"]),
        description=rest / "model.json",
        curve=rest / "training.csv",
        checkpoints=rest / "checkpoints",
        training_log=rest / "training_log.parquet",
    )
    return TrainingTask(samples, recipe, files)
