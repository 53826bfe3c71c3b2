"""Noise policies: which noise a sample meets at a timestep when its gradient is taken."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dmin.runtime.seeds import derive_generator
from dmin.settings.runs import GradientNoise


def draw_noise(
    config: GradientNoise, pairs: Sequence[tuple[str, int]], shape: Sequence[int], draws: int = 1
) -> torch.Tensor:
    """Draw the noises of (sample id, timestep) pairs, standard normal, float32 ``[len(pairs) * draws, *shape]``.

    The draws of a pair are neighbours, and the first does not depend on how many follow.

    Policies: ``shared`` is one noise for every sample and timestep (DMin), ``per_timestep`` one for each timestep,
    ``by_id`` one for each sample and timestep. Draws depend on the seed and these names alone.

    Args:
        pairs: sample id and timestep of each row.
        shape: shape of one latent.
        draws: noises of each pair.
    """
    policy, seed = config["policy"], config["seed"]

    def name(sample: str, timestep: int) -> tuple[str, ...]:
        if policy == "shared":
            return ()
        return (str(timestep),) if policy == "per_timestep" else (str(timestep), sample)

    names = [
        (*name(sample, timestep), *((f"draw {draw}",) if draw else ()))
        for sample, timestep in pairs
        for draw in range(draws)
    ]
    drawn = {
        key: torch.randn(tuple(shape), generator=derive_generator(seed, "gradient_noise", *key)) for key in set(names)
    }
    return torch.stack([drawn[key] for key in names])
