"""The images that members generate, all from the same noises."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from dmin.data.samples import read_samples, write_samples
from dmin.models.load import TrainedModel
from dmin.models.queries.generate import SeededSampling, choose_candidates, generate_images
from dmin.retraining.members import RetrainedModels
from dmin.runtime.pace import Pace
from dmin.runtime.seeds import derive_seed

log = logging.getLogger(__name__)

COLUMNS = ["id", "set", "repeat", "image"]


class ImageSettings(SeededSampling):
    """How images are generated, and how many of each member."""

    count: int


def asked_images(test: Path, config: ImageSettings, repeat: int = 0) -> pd.DataFrame:
    """Return what every member generates; columns ``id, prompt, seed``.

    Prompts are those of the test set, each with a noise of its own.

    Args:
        repeat: numbers further sets of noises; 0 is that of the members.
    """
    seed = derive_seed(config["seed"], "game", repeat)
    return choose_candidates(read_samples(test, ["id", "prompt"]), config["count"], seed)


def generate_members(models: RetrainedModels, test: Path, config: ImageSettings, out: Path, pace: Pace) -> None:
    """Write the images of some members; columns ``id, set, repeat, image``, the set that of the coalition."""
    asked, wanted, parts = asked_images(test, config), list(models.retrainings), []
    for place, member in enumerate(wanted):
        made = generate_images(asked, models.of(member), config, pace)
        parts.append(made.assign(set=str(member.set), repeat=str(member.repeat))[COLUMNS])
        log.info("%s: %d images, %d of %d", member.name, len(made), place + 1, len(wanted))
    write_samples(pd.concat(parts) if parts else pd.DataFrame(columns=COLUMNS), out)


def generate_anchor(
    model: TrainedModel, test: Path, config: ImageSettings, anchor: tuple[str, int], out: Path, pace: Pace
) -> None:
    """Write the images of one model, with the columns of :func:`generate_members` and ``prompt``.

    Args:
        anchor: its name, which stands for the set, and the repeat of its noises.
    """
    made = generate_images(asked_images(test, config, anchor[1]), model, config, pace)
    write_samples(made.assign(set=anchor[0], repeat="0")[[*COLUMNS, "prompt"]], out)
