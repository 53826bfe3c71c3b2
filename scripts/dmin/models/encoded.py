"""Samples as the denoiser sees them: latents and conditioning, encoded once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError


@dataclass(frozen=True)
class EncodedSamples:
    """Latents ``[N, c, h, w]`` and conditioning tensors ``[N, ...]`` of the samples ``ids``.

    ``unconditional`` holds the conditioning of the empty prompt, each ``[1, ...]``.
    """

    ids: Sequence[str]
    latents: torch.Tensor
    conditioning: Mapping[str, torch.Tensor]
    unconditional: Mapping[str, torch.Tensor]

    def rows(self, start: int, stop: int) -> EncodedSamples:
        """Return the samples ``start`` to ``stop``."""
        conditioning = {name: value[start:stop] for name, value in self.conditioning.items()}
        return EncodedSamples(self.ids[start:stop], self.latents[start:stop], conditioning, self.unconditional)

    def take(self, places: Sequence[int]) -> EncodedSamples:
        """Return the samples at ``places``, in that order."""
        rows = torch.tensor(places, dtype=torch.long)
        conditioning = {name: value[rows] for name, value in self.conditioning.items()}
        ids = [self.ids[place] for place in places]
        return EncodedSamples(ids, self.latents[rows], conditioning, self.unconditional)

    def save(self, path: Path, truncated: int = 0) -> None:
        """Write everything to one safetensors file, with the number of prompts that were too long as ``truncated``."""
        tensors = {"latents": self.latents, "truncated": torch.tensor(truncated)}
        tensors |= {f"conditioning/{name}": value for name, value in self.conditioning.items()}
        tensors |= {f"unconditional/{name}": value for name, value in self.unconditional.items()}
        with atomic_path(path) as temporary:
            save_file(
                {name: value.contiguous() for name, value in tensors.items()},
                temporary,
                metadata={"ids": json.dumps(list(self.ids))},
            )

    @classmethod
    def load(cls, path: Path, start: int = 0, stop: int | None = None) -> EncodedSamples:
        """Read rows ``start`` to ``stop`` of a file written by :meth:`save`.

        Raises:
            UserError: the file is torn or foreign.
        """
        try:
            with safe_open(path, framework="pt") as file:
                ids = json.loads(file.metadata()["ids"])
                groups: dict[str, dict[str, torch.Tensor]] = {"conditioning": {}, "unconditional": {}}
                for key in file.keys():  # noqa: SIM118 (safe_open is not a mapping)
                    group, _, name = key.partition("/")
                    if group == "conditioning":
                        groups[group][name] = file.get_slice(key)[start:stop]
                    elif group == "unconditional":
                        groups[group][name] = file.get_tensor(key)
                latents = file.get_slice("latents")[start:stop]
        except (SafetensorError, KeyError, TypeError, OSError) as error:
            raise UserError(
                f"Encoded samples '{path}' are torn or foreign ({error}); delete the file and run again."
            ) from error
        return cls(ids[start:stop], latents, groups["conditioning"], groups["unconditional"])


def count_encoded(path: Path) -> int:
    """Return how many samples a file written by :meth:`EncodedSamples.save` holds.

    Raises:
        UserError: the file is torn or foreign.
    """
    try:
        with safe_open(path, framework="pt") as file:
            count: int = file.get_slice("latents").get_shape()[0]
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"Encoded samples '{path}' are torn or foreign ({error}); delete the file and run again."
        ) from error
    return count
