"""Gradients per sample on two samples: what they cover, and whether they are those of the training loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dmin.data.pixels import pixels_to_tensor
from dmin.doctor.findings import Finding
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.selection import select_parameters
from dmin.gradients.timesteps import timestep_grid
from dmin.models.families.family import Family
from dmin.models.families.sampling import Conditioning
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_generator

# Of float32 arithmetic in another order; what is wrong differs by far more.
TOLERANCE = 1e-3
# Values of a gradient above which it is not compared: a few copies of two of them are held.
MOST_VALUES = 100_000_000


@dataclass(frozen=True)
class Rows:
    """Two samples, each at a timestep: ``latents``, ``noise [2, c, h, w]``, ``timesteps [2]``, ``conditioning``."""

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    conditioning: Conditioning

    def of(self, row: int) -> Rows:
        """Return one of them, alone."""
        one = slice(row, row + 1)
        conditioning = {name: value[one] for name, value in self.conditioning.items()}
        return Rows(self.latents[one], self.noise[one], self.timesteps[one], conditioning)


def encode_rows(family: Family, pixels: np.ndarray, prompts: Sequence[str], timesteps: Sequence[int]) -> Rows:
    """Encode two images ``[2, size, size, 3]`` and prompts, at the first and the last of ``timesteps``.

    Raises:
        UserError: the family takes no images of that size.
    """
    family.require_latents(family.latent_shape(pixels.shape[1]))
    with torch.no_grad():
        latents = family.encode_images(pixels_to_tensor(pixels))
        conditioning = family.encode_prompts(list(prompts))
    noise = torch.randn(latents.shape, generator=derive_generator(0, "doctor"))
    return Rows(latents, noise, torch.tensor([timesteps[0], timesteps[-1]]), conditioning)


def examine_gradients(
    key: str, family: Family, gradients: Mapping[str, Any], pixels: np.ndarray, prompts: Sequence[str]
) -> Iterator[Finding]:
    """Yield what a run's gradients cover, and whether they hold on two samples.

    Raises:
        UserError: they cannot be taken, are not those of autograd, depend on what else is in a batch, or their loss is
            not the training's and nothing in the config asks for another.
    """
    rows = encode_rows(family, pixels, prompts, timestep_grid(gradients["timesteps"], family.name))
    chosen = select_parameters(family.denoiser, gradients["parameters"])
    engine = PerSampleGradients(family.denoiser, chosen)
    total = sum(value.numel() for value in family.denoiser.parameters())
    paths = ", ".join(f"{row.path} {row.share:.1%}" for row in engine.coverage)
    covered = f"{engine.parameter_count:,} of {total:,} values in {len(chosen)} tensors ({paths})"
    yield Finding(key, "parameters", covered)
    reference = gradients["objective"] == "reference"
    loss = family.reference_objective if reference else family.objective
    yield from _objective(key, family, rows, reference)
    yield from _alone(key, loss, rows)
    if engine.parameter_count > MOST_VALUES:
        yield Finding(key, "gradients", "too many values to compare with autograd here", "note")
        return
    error = _worst_error(engine, list(chosen.values()), loss, rows)
    if not error <= TOLERANCE:
        raise UserError(
            f"{key}: gradients per sample differ from those of autograd by {error:.1%}; report it, and trust no score "
            "of this model."
        )
    yield Finding(key, "gradients", f"those of autograd on two samples, within {error:.0e}")


def _objective(key: str, family: Family, rows: Rows, reference: bool) -> Iterator[Finding]:
    """Compare the loss of the gradients with that of a training step, computed from what the family predicts."""
    given = (rows.latents, rows.noise, rows.timesteps, rows.conditioning)
    with torch.no_grad():
        found = (family.reference_objective if reference else family.objective)(*given)
        target = family.target.of(rows.latents, rows.noise, rows.timesteps).float()
        trained = (family.predict(*given).float() - target).square().flatten(1).mean(1)
        if family.preconditioned:
            trained = trained * family.target.preconditioned_weight(rows.timesteps).float()
    error = _relative(found, trained)
    if reference:
        said = f"that of the published code, which differs from the training loss by {error:.0%}, as the config asks"
        yield Finding(key, "objective", said, "note")
    elif not error <= TOLERANCE:
        raise UserError(
            f"{key}: the loss that is differentiated differs from the training loss by {error:.1%}; mend the objective "
            f"of the family {family.name}."
        )
    else:
        yield Finding(key, "objective", f"the training loss, {', '.join(f'{value:.3g}' for value in found.tolist())}")


def _alone(key: str, loss: Any, rows: Rows) -> Iterator[Finding]:
    """Compare the loss of each sample in a batch with its loss alone."""
    with torch.no_grad():
        together = loss(rows.latents, rows.noise, rows.timesteps, rows.conditioning)
        parts = [rows.of(row) for row in range(2)]
        alone = torch.cat([loss(one.latents, one.noise, one.timesteps, one.conditioning) for one in parts])
    error = _relative(together, alone)
    if not error <= TOLERANCE:
        raise UserError(
            f"{key}: the loss of a sample differs by {error:.1%} with what else is in its batch, as where a denoiser "
            "normalises over a batch; use another base."
        )
    yield Finding(key, "batches", f"a sample's loss is the same alone, within {error:.0e}")


def _worst_error(engine: PerSampleGradients, chosen: Sequence[torch.Tensor], loss: Any, rows: Rows) -> float:
    """Return the largest relative error of the engine's gradients against those of autograd, over rows."""
    sink = RawSink(engine.parameter_count, 2, dtype=torch.float32)
    with engine.capture(2, sink):
        loss(rows.latents, rows.noise, rows.timesteps, rows.conditioning).sum().backward()
    errors = []
    for row in range(2):
        value = loss(rows.latents, rows.noise, rows.timesteps, rows.conditioning)[row]
        found = torch.autograd.grad(value, chosen, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, found, strict=True)]
        errors.append(_relative(sink.gradient[row], torch.cat([value.reshape(-1).float() for value in flat])))
    return max(errors)


def _relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    length = float(torch.linalg.vector_norm(reference))
    return float(torch.linalg.vector_norm(found - reference)) / length if length else float("inf")
