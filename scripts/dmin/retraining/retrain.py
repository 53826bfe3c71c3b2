"""Train a model again on each of several sets of its training samples."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dmin.models.encoded import EncodedSamples
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.models.training.train_model import train_model
from dmin.retraining.members import Retrainings, weights_name
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import base_digest, config_digest, file_digest
from dmin.runtime.errors import DivergedError, UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.seeds import derive_seed
from dmin.runtime.sidecar import only_writer
from dmin.settings.models import Train

log = logging.getLogger(__name__)


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


def retrain_subsets(
    samples: Path, sets: Path, recipe: Recipe, retrainings: Retrainings, out: Path, pace: TrainingPace
) -> None:
    """Train some retrainings of a bank, one after another, into the folder ``out``.

    A retraining has a folder of its name with its weights and ``model.json``. Finished ones and the state of the one
    under way are kept in a sidecar until all are done, so a killed job loses at most ``save_every`` steps.

    Args:
        samples: the encoded training samples.
        sets: see :func:`write_sets`; or, with ``removes``, :func:`write_removals`.

    Raises:
        DivergedError: a training diverged; the message names it, and how to leave its set out.
        UserError: another process trains the same ones, or the end was asked for.
    """
    encoded, table, bank = EncodedSamples.load(samples), read_parquet(sets), retrainings.bank
    key = config_digest(
        dict(recipe.model), dict(bank), base_digest(recipe.base), file_digest(samples), file_digest(sets)
    )
    work = out.parent / ".resume" / f"{out.name}-{key}"
    wanted = list(retrainings)
    start, trained = time.monotonic(), 0
    with only_writer(out.parent / ".resume", out.name):
        work.mkdir(parents=True, exist_ok=True)
        for place, member in enumerate(wanted):
            if (work / member.name / "model.json").exists():
                # A kill may have come between the end of a retraining and the removal of what only it needed.
                shutil.rmtree(work / member.name / "rest", ignore_errors=True)
                continue
            rows = trained_rows(encoded.ids, table.loc[table["set"] == member.set, "id"], bank.get("removes", False))
            share = 1.0 if bank.get("budget") == "steps" else len(rows) / len(encoded.ids)
            try:
                own = member_recipe(recipe, share, bank["seed"], member.repeat)
                _train_member(encoded.take(rows), own, work / member.name, pace)
            except DivergedError as error:
                advice = bank.get("advice", "add {set} to the bank's exclude").format(set=member.set)
                raise DivergedError(
                    f"Retraining {member.name} failed: {error} To go on without its set, {advice}."
                ) from error
            trained += 1
            each = (time.monotonic() - start) / trained
            done, left = place + 1, each * (len(wanted) - place - 1)
            log.info("%s: %d of %d trained, %.0f s each, %.0f s to go", member.name, done, len(wanted), each, left)
        write_json({"members": [member.name for member in wanted], "key": key}, work / "bank.json")
        if out.exists():
            shutil.rmtree(out)
        work.replace(out)


def _train_member(encoded: EncodedSamples, recipe: Recipe, folder: Path, pace: TrainingPace) -> None:
    folder.mkdir(exist_ok=True)
    samples, rest = folder / "samples.safetensors", folder / "rest"
    if not samples.exists():
        encoded.save(samples)
    files = TrainingFiles(
        weights=folder / weights_name(recipe.model["finetune"]),
        description=rest / "model.json",
        curve=rest / "training.csv",
        checkpoints=rest / "checkpoints",
        training_log=rest / "training_log.parquet",
    )
    train_model(TrainingTask(samples, recipe, files), pace)
    samples.unlink()
    # What says that this retraining is done comes last.
    (rest / "model.json").replace(folder / "model.json")
    shutil.rmtree(rest)
