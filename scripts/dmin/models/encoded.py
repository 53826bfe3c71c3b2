"""Samples as the denoiser sees them: latents and conditioning, encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dmin.models.sealed_tensors import SealedTensors, write_tensors
from dmin.runtime.errors import UserError

WHAT = "File of encoded samples"


@dataclass(frozen=True)
class EncodedSamples:
    """Latents ``[N, c, h, w]`` and conditioning tensors ``[N, ...]`` of the samples ``ids``.

    ``unconditional`` holds the conditioning of the empty prompt, each ``[1, ...]``. ``repeats [N]`` says how often each
    sample is seen in an epoch of a training; None where once. Samples that are regions of others have ``masks
    [N, h, w]`` in 0..1 over the cells of the latents, and ``origins``, the ids of the others, whose noises they meet.
    """

    ids: Sequence[str]
    latents: torch.Tensor
    conditioning: Mapping[str, torch.Tensor]
    unconditional: Mapping[str, torch.Tensor]
    repeats: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    origins: Sequence[str] | None = None

    @property
    def noised_as(self) -> Sequence[str]:
        """The ids that the samples' noises are drawn by."""
        return self.ids if self.origins is None else self.origins

    @property
    def entries(self) -> torch.Tensor:
        """The places of the samples that an epoch sees, each as often as it is seen, ``[sum of repeats]``."""
        places = torch.arange(len(self.ids))
        return places if self.repeats is None else places.repeat_interleave(self.repeats)

    def rows(self, start: int, stop: int) -> EncodedSamples:
        """Return the samples ``start`` to ``stop``."""
        conditioning = {name: value[start:stop] for name, value in self.conditioning.items()}
        repeats, masks = (None if value is None else value[start:stop] for value in (self.repeats, self.masks))
        origins = None if self.origins is None else self.origins[start:stop]
        kept = (self.ids[start:stop], self.latents[start:stop], conditioning, self.unconditional)
        return EncodedSamples(*kept, repeats, masks, origins)

    def take(self, places: Sequence[int]) -> EncodedSamples:
        """Return the samples at ``places``, in that order."""
        rows = torch.tensor(places, dtype=torch.long)
        conditioning = {name: value[rows] for name, value in self.conditioning.items()}
        ids = [self.ids[place] for place in places]
        repeats, masks = (None if value is None else value[rows] for value in (self.repeats, self.masks))
        origins = None if self.origins is None else [self.origins[place] for place in places]
        return EncodedSamples(ids, self.latents[rows], conditioning, self.unconditional, repeats, masks, origins)

    def save(self, path: Path, truncated: int = 0) -> None:
        """Write everything to one safetensors file, with the number of prompts that were too long as ``truncated``."""
        tensors = {"latents": self.latents, "truncated": torch.tensor(truncated)}
        tensors |= {f"conditioning/{name}": value for name, value in self.conditioning.items()}
        tensors |= {f"unconditional/{name}": value for name, value in self.unconditional.items()}
        tensors |= {} if self.repeats is None else {"repeats": self.repeats}
        write_tensors(path, {"ids": list(self.ids)}, tensors)

    @classmethod
    def load(cls, path: Path, start: int = 0, stop: int | None = None) -> EncodedSamples:
        """Read rows ``start`` to ``stop`` of a file written by :meth:`save`.

        Raises:
            UserError: the file is torn or foreign.
        """
        with SealedTensors(path, WHAT) as file:
            ids = file.facts["ids"]
            groups: dict[str, dict[str, torch.Tensor]] = {"conditioning": {}, "unconditional": {}}
            for key in file.names:
                group, _, name = key.partition("/")
                if group == "conditioning":
                    groups[group][name] = file.rows(key, start, stop)
                elif group == "unconditional":
                    groups[group][name] = file.tensor(key)
            latents = file.rows("latents", start, stop)
            repeats = file.rows("repeats", start, stop) if "repeats" in file.names else None
        return cls(ids[start:stop], latents, groups["conditioning"], groups["unconditional"], repeats)

    @classmethod
    def load_named(cls, path: Path, ids: Sequence[str]) -> EncodedSamples:
        """Read the rows of some ids, in their order and as often as they are named; no others are read.

        Raises:
            UserError: the file is torn or foreign, or has no such sample.
        """
        with SealedTensors(path, WHAT) as file:
            places = {name: place for place, name in enumerate(file.facts["ids"])}
        missing = [name for name in ids if name not in places]
        if missing:
            raise UserError(f"{WHAT} '{path}' has no sample '{missing[0]}'; make what names it again.")
        once = list(dict.fromkeys(ids))
        parts = [cls.load(path, places[name], places[name] + 1) for name in once]
        conditioning = {name: torch.cat([part.conditioning[name] for part in parts]) for name in parts[0].conditioning}
        read = cls(once, torch.cat([part.latents for part in parts]), conditioning, parts[0].unconditional)
        at = {name: place for place, name in enumerate(once)}
        return read.take([at[name] for name in ids])


def count_encoded(path: Path) -> int:
    """Return how many samples a file written by :meth:`EncodedSamples.save` holds.

    Raises:
        UserError: the file is torn or foreign.
    """
    with SealedTensors(path, WHAT) as file:
        return len(file.facts["ids"])


def require_one_shape(left: torch.Tensor, right: torch.Tensor, one: str, other: str) -> None:
    """Refuse to pair latents ``[N, c, h, w]`` of two shapes, whose noises have nothing to do with each other.

    Raises:
        UserError: naming both shapes.
    """
    if left.shape[1:] != right.shape[1:]:
        raise UserError(
            f"The {one} have latents of {tuple(left.shape[1:])} and the {other} of {tuple(right.shape[1:])}; make both "
            "at the data set's size."
        )
