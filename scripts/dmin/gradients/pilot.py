"""A few training samples at every timestep, on which the scale or the curvature of the gradients is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch

from dmin.gradients.attributed_networks import attributed_parts
from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.capture import GradientSink, Watch
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples, count_encoded
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.settings.pilot import pilot_size

Section = Literal["scale", "curvature"]


@dataclass(frozen=True)
class Pilot:
    """The gradients of a pilot: its pass, the ``rows`` (place of the sample, timestep), and rows at a time."""

    gradient_pass: GradientPass
    rows: Sequence[tuple[int, int]]
    batch: int

    @classmethod
    def of(cls, samples: Path, model: TrainedModel, config: GradientSettings, kind: KindSettings, pace: Pace) -> Self:
        """Load the model and the samples of the pilot that ``config`` has a section for, the scale or the curvature.

        Raises:
            UserError: the pilot is larger than the set.
        """
        section: Section = "curvature" if "curvature" in config else "scale"
        family = load_trained(model, resolve_device(pace.device), attributed_parts(config["parameters"]))
        count = count_encoded(samples)
        # No others, for a set may be larger than memory.
        places = pilot_places(count, pilot_size(config[section]["pilot"], count), section)
        encoded = EncodedSamples.load_at(samples, places)
        timesteps = timestep_grid(config["timesteps"], model.base["family"])
        rows = [(place, timestep) for place in range(len(encoded.ids)) for timestep in timesteps]
        return cls(GradientPass(family, encoded, config, kind), rows, pace.batch)

    def feed(self, sink: GradientSink, watch: Watch | None = None) -> None:
        """Feed ``sink`` the gradients of all rows, and ``watch`` what meets at every module that has a rule.

        Raises:
            UserError: a loss is not finite; sample and timestep are named.
        """
        for first in range(0, len(self.rows), self.batch):
            part = list(self.rows[first : first + self.batch])
            found = [self.gradient_pass.differentiate(run, sink, watch) for run in self.gradient_pass.runs(part)]
            for (place, timestep), loss in zip(part, torch.cat(found).tolist(), strict=True):
                if not math.isfinite(loss):
                    name = self.gradient_pass.encoded.ids[place]
                    raise UserError(f"Sample '{name}' at timestep {timestep} has loss {loss:g}; mend it.")


def pilot_places(count: int, pilot: int, section: Section) -> list[int]:
    """Return the places of ``pilot`` of ``count`` samples, evenly spread, so that every subset has its share.

    Raises:
        UserError: the pilot is larger than the set.
    """
    if pilot > count:
        raise UserError(f"gradients.{section}.pilot is {pilot}, but there are {count} training samples; lower it.")
    return [place * count // pilot for place in range(pilot)]
