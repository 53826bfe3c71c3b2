"""What the denoiser predicted on the way to each generated image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dmin.models.sealed_tensors import SealedTensors, write_tensors
from dmin.runtime.errors import UserError


@dataclass(frozen=True)
class Trajectory:
    """Clean latents ``[N, S, c, h, w]`` predicted at the S ``timesteps`` of sampling, for the samples ``ids``."""

    ids: Sequence[str]
    timesteps: list[int]
    clean: torch.Tensor

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file."""
        facts = {"ids": list(self.ids), "timesteps": self.timesteps}
        write_tensors(path, facts, {"clean": self.clean})

    @classmethod
    def load(cls, path: Path, ids: Sequence[str], start: int = 0, stop: int | None = None) -> Trajectory:
        """Read rows ``start`` to ``stop`` of a file written by :meth:`save`, which must be those of ``ids``.

        Raises:
            UserError: the file is torn or foreign, or holds other samples.
        """
        with SealedTensors(path, "Trajectory") as file:
            clean = file.rows("clean", start, stop)
            stored, timesteps = file.facts["ids"][start:stop], file.facts["timesteps"]
        if stored != list(ids):
            raise UserError(f"Trajectory '{path}' is not that of the encoded queries; delete it and run again.")
        return cls(stored, timesteps, clean)

    @classmethod
    def load_named(cls, path: Path, ids: Sequence[str]) -> Trajectory:
        """Read the rows of some ids, in their order and as often as they are named.

        Raises:
            UserError: the file is torn or foreign, or has no such sample.
        """
        with SealedTensors(path, "Trajectory") as file:
            places = {name: place for place, name in enumerate(file.facts["ids"])}
            timesteps = file.facts["timesteps"]
            missing = [name for name in ids if name not in places]
            if missing:
                raise UserError(f"Trajectory '{path}' has no query '{missing[0]}'; delete it and run again.")
            return cls(ids, timesteps, file.rows_at("clean", [places[name] for name in ids]))

    def thinned(self, count: int) -> Trajectory:
        """Return ``count`` of its steps, evenly spread from the first to the last.

        Raises:
            UserError: it has fewer.
        """
        if count > len(self.timesteps):
            raise UserError(
                f"influence.options.journey_steps is {count}, but the queries were sampled in {len(self.timesteps)} "
                "steps; lower it."
            )
        places = np.linspace(0, len(self.timesteps) - 1, count).round().astype(int).tolist()
        return Trajectory(self.ids, [self.timesteps[place] for place in places], self.clean[:, places])

    def at(self, rows: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return the clean latents ``[len(rows), c, h, w]`` of rows ``(index of the sample, timestep)``."""
        places = [self.timesteps.index(timestep) for _, timestep in rows]
        return self.clean[[sample for sample, _ in rows], places]
