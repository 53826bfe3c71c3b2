"""Train a model again on each of several sets of its training samples."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dmin.models.encoded import EncodedSamples
from dmin.models.training.train_model import train_model
from dmin.runtime.atomic import write_json
from dmin.runtime.deadline import StopRequest
from dmin.runtime.digests import base_digest, config_digest, file_digest
from dmin.runtime.errors import DivergedError, UserError
from dmin.runtime.seeds import derive_seed
from dmin.runtime.sidecar import only_writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One retraining: the number of its set, and which of the set's trainings it is."""

    set: int
    repeat: int

    @property
    def name(self) -> str:
        """Its folder and its name in messages."""
        return f"set{self.set:04d}-{self.repeat}"


def members(start: int, stop: int, repeats: int, exclude: Sequence[int]) -> Iterator[Member]:
    """Yield the retrainings ``start`` to ``stop``, those of a set one after another, without the sets ``exclude``."""
    for number in range(start, stop):
        member = Member(number // repeats, number % repeats)
        if member.set not in exclude:
            yield member


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


def weights_name(finetune: str) -> str:
    """Return the name of a model's weights: of a pipeline folder, or of an adapter file."""
    return "pipeline" if finetune == "full" else "pytorch_lora_weights.safetensors"


def member_settings(model: Mapping[str, Any], share: float, seed: int, repeat: int) -> dict[str, Any]:
    """Return the settings of a retraining that has a ``share`` of the model's steps.

    The share of the samples gives as many epochs as the model had.

    Its seed depends on the repeat and not on the set, so all sets start from the same weights.
    """
    train = model["train"]
    steps = max(1, round(train["steps"] * share))
    changed = {"steps": steps, "seed": derive_seed(seed, "retraining", repeat), "checkpoints": []}
    return {**model, "train": {**train, **changed}}


def retrain_subsets(
    samples: Path,
    sets: Path,
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    bank: Mapping[str, Any],
    span: tuple[int, int],
    out: Path,
    device: str,
    save_every: int,
    request: StopRequest | None = None,
) -> None:
    """Train the retrainings ``span[0]`` to ``span[1]`` of a bank, one after another, into the folder ``out``.

    A retraining has a folder of its name with its weights and ``model.json``. Finished ones and the state of the one
    under way are kept in a sidecar until all are done, so a killed job loses at most ``save_every`` steps; ``request``
    is asked before every step.

    Args:
        samples: the encoded training samples.
        sets: see :func:`write_sets`; or, with ``removes``, :func:`write_removals`.
        bank: ``seeds`` (trainings of each set), ``seed`` and ``exclude`` (sets that are left out). Optional:
            ``removes``, whether a set lists what is left out and not what is trained on; ``budget``, ``steps`` for as
            many steps as the model had and not as many epochs; ``advice``, how a set is left out.

    Raises:
        DivergedError: a training diverged; the message names it, and how to leave its set out.
        UserError: another process trains the same ones, or ``request`` asked for the end.
    """
    with only_writer(out.parent / ".resume", out.name):
        _retrain(samples, sets, base, model, bank, span, out, device, save_every, request)


def _retrain(
    samples: Path,
    sets: Path,
    base: Mapping[str, Any],
    model: Mapping[str, Any],
    bank: Mapping[str, Any],
    span: tuple[int, int],
    out: Path,
    device: str,
    save_every: int,
    request: StopRequest | None,
) -> None:
    encoded = EncodedSamples.load(samples)
    table = pd.read_parquet(sets)
    key = config_digest(dict(model), {**bank}, base_digest(base), file_digest(samples), file_digest(sets))
    work = out.parent / ".resume" / f"{out.name}-{key}"
    work.mkdir(parents=True, exist_ok=True)
    wanted = list(members(*span, bank["seeds"], bank["exclude"]))
    start, trained = time.monotonic(), 0
    for place, member in enumerate(wanted):
        folder = work / member.name
        if (folder / "model.json").exists():
            continue
        rows = trained_rows(encoded.ids, table.loc[table["set"] == member.set, "id"], bank.get("removes", False))
        share = 1.0 if bank.get("budget") == "steps" else len(rows) / len(encoded.ids)
        settings = member_settings(model, share, bank["seed"], member.repeat)
        advice = bank.get("advice", "add {set} to the bank's exclude").format(set=member.set)
        _train_member(encoded, rows, base, settings, folder, device, save_every, member, advice, request)
        trained += 1
        pace = (time.monotonic() - start) / trained
        log.info(
            "%s: %d of %d trained, %.0f s each, %.0f s to go",
            member.name,
            place + 1,
            len(wanted),
            pace,
            pace * (len(wanted) - place - 1),
        )
    write_json({"members": [member.name for member in wanted], "key": key}, work / "bank.json")
    if out.exists():
        shutil.rmtree(out)
    work.replace(out)


def _train_member(
    encoded: EncodedSamples,
    rows: Sequence[int],
    base: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: Path,
    device: str,
    save_every: int,
    member: Member,
    advice: str,
    request: StopRequest | None,
) -> None:
    folder.mkdir(exist_ok=True)
    samples, rest = folder / "samples.safetensors", folder / "rest"
    if not samples.exists():
        encoded.take(rows).save(samples)
    files = (folder / weights_name(settings["finetune"]), rest / "model.json", rest / "training.csv")
    try:
        kept = (rest / "checkpoints", rest / "training_log.parquet")
        train_model(samples, base, settings, *files, device, save_every, *kept, request)
    except DivergedError as error:
        raise DivergedError(f"Retraining {member.name} failed: {error} To go on without its set, {advice}.") from error
    samples.unlink()
    # What says that this retraining is done comes last.
    (rest / "model.json").replace(folder / "model.json")
    shutil.rmtree(rest)
