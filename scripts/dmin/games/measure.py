"""Measure what members do: one behaviour of each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from dmin.catalogue.behaviours import BEHAVIOURS
from dmin.games.embed import member_images
from dmin.games.feature_files import read_features
from dmin.games.measured import Measured, ReferenceFiles, References
from dmin.gradients.timesteps import timestep_grid
from dmin.models.load import TrainedModel
from dmin.retraining.members import RetrainedModels
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_seed
from dmin.settings.games import Encoder
from dmin.settings.runs import Timesteps

log = logging.getLogger(__name__)


class BehaviourSettings(TypedDict):
    """What a behaviour depends on beside members: see :class:`References`.

    Attributes:
        repeat: numbers the noises of losses; 0 is that of the members.
    """

    encoder: Encoder
    timesteps: int
    seed: int
    repeat: int
    clusters: int | None
    number: int


@dataclass(frozen=True)
class MemberFiles:
    """What some members left: a table of ``images``, their ``features``, or the ``models``; one of the three.

    Attributes:
        models: of a range of members, or one by its name ``set/repeat``.
    """

    images: Path | None = None
    features: Path | None = None
    models: RetrainedModels | dict[str, TrainedModel] | None = None

    @classmethod
    def of(cls, files: Mapping[str, Any], models: RetrainedModels | dict[str, TrainedModel] | None) -> MemberFiles:
        """Return what a job was given, by name."""
        given = {name: Path(files[name]) for name in ("images", "features") if name in files}
        return cls(**given, models=models)


def measure_behaviour(
    behaviour: str, members: MemberFiles, files: ReferenceFiles, config: BehaviourSettings, out: Path, pace: Pace
) -> None:
    """Write a behaviour of some members; columns ``set, repeat, behaviour, value``.

    The behaviour is named with its encoder, where it reads features, and with its part, where it has several.

    Raises:
        UserError: a value is not finite; the member is named.
    """
    entry = BEHAVIOURS[behaviour]
    grid: Timesteps = {"grid": "uniform", "count": config["timesteps"], "custom": []}
    against = References(
        files,
        timestep_grid(grid, _family(members)),
        derive_seed(config["seed"], "game", config["repeat"]),
        pace.batch,
        config["clusters"],
        config["number"],
    )
    measure, start = import_module(entry.module).measure, time.monotonic()
    rows = []
    for name, member in _members(members, pace.device):
        number, repeat = name.split("/")
        for part, value in measure(member, against).items():
            called = value_name(behaviour, part, config["encoder"]["kind"] if members.features else "")
            if not math.isfinite(value):
                raise UserError(
                    f"{called} of member {number} (training {repeat}) is not finite; to go on without that member, add "
                    "it to the game's exclude as TRAINER/NUMBER."
                )
            rows.append((number, repeat, called, value))
    write_csv(pd.DataFrame(rows, columns=["set", "repeat", "behaviour", "value"]), out)
    log.info("%s of %d values in %.1f s", behaviour, len(rows), time.monotonic() - start)


def value_name(behaviour: str, part: str, encoder: str) -> str:
    """Return what tables call a value of a behaviour: its own name, its part and its encoder, of those that it has."""
    return "_".join(name for name in (behaviour, encoder) if name) + (f"/{part}" if part else "")


def _family(members: MemberFiles) -> str:
    """Return the family of models; of images alone it does not matter."""
    if isinstance(members.models, RetrainedModels):
        return members.models.base["family"]
    return next(iter(members.models.values())).base["family"] if members.models else "ddpm"


def _members(members: MemberFiles, device: str) -> Iterator[tuple[str, Measured]]:
    """Yield members by name."""
    if members.images is not None:
        for name, pixels in member_images(members.images).items():
            yield name, Measured(given_images=pixels)
    elif members.features is not None:
        for name, features in read_features(members.features).items():
            yield name, Measured(given_features=features)
    elif isinstance(members.models, RetrainedModels):
        for member in members.models.retrainings:
            yield f"{member.set}/{member.repeat}", Measured(model=members.models.of(member), device=device)
    else:
        for name, model in (members.models or {}).items():
            yield name, Measured(model=model, device=device)
