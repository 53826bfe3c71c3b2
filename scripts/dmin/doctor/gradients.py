"""Gradients per sample on two samples: what they cover, and whether they are those of the training loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dmin.data.pixels import pixels_to_tensor
from dmin.doctor.findings import Finding
from dmin.gradients.attributed_networks import AttributedNetworks
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.timesteps import timestep_grid
from dmin.models.families.family import Family
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_generator

# Of float32 arithmetic in another order; what is wrong differs by far more.
TOLERANCE = 1e-3
# Values of a gradient above which it is not compared: a few copies of two of them are held.
MOST_VALUES = 100_000_000


# Of rows, ``[2]``.
Loss = Callable[["Rows"], torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Two samples, each at a timestep.

    ``latents``, ``noise [2, c, h, w]``, ``timesteps [2]``, and what is ``read`` of the prompts: the conditioning, or
    the tokens of text encoders that are attributed.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    read: Mapping[str, torch.Tensor]

    def of(self, row: int) -> Rows:
        """Return one of them, alone."""
        one = slice(row, row + 1)
        read = {name: value[one] for name, value in self.read.items()}
        return Rows(self.latents[one], self.noise[one], self.timesteps[one], read)


def encode_rows(
    attributed: AttributedNetworks, pixels: np.ndarray, prompts: Sequence[str], timesteps: Sequence[int]
) -> Rows:
    """Encode two images ``[2, size, size, 3]`` and prompts, at the first and the last of ``timesteps``.

    Raises:
        UserError: the family takes no images of that size.
    """
    family = attributed.family
    family.require_latents(family.latent_shape(pixels.shape[1]))
    with torch.no_grad():
        latents = family.encode_images(pixels_to_tensor(pixels))
    read = family.prompt_tokens(prompts) if attributed.with_text else family.encode_prompts(prompts)
    noise = torch.randn(latents.shape, generator=derive_generator(0, "doctor"))
    return Rows(latents, noise, torch.tensor([timesteps[0], timesteps[-1]]), read)


def examine_gradients(
    key: str, family: Family, gradients: Mapping[str, Any], pixels: np.ndarray, prompts: Sequence[str]
) -> Iterator[Finding]:
    """Yield what a run's gradients cover, and whether they hold on two samples.

    Raises:
        UserError: they cannot be taken, are not those of autograd, depend on what else is in a batch, or their loss is
            not the training's and nothing in the config asks for another.
    """
    try:
        attributed = AttributedNetworks.select(family, gradients["parameters"])
    except UserError as refused:
        raise UserError(f"{key}.gradients: {refused}") from refused
    rows = encode_rows(attributed, pixels, prompts, timestep_grid(gradients["timesteps"], family.name))
    chosen = attributed.parameters
    engine = PerSampleGradients(attributed.network, chosen)
    total = sum(value.numel() for value in attributed.network.parameters())
    paths = ", ".join(f"{row.path} {row.share:.1%}" for row in engine.coverage)
    covered = f"{engine.parameter_count:,} of {total:,} values in {len(chosen)} tensors ({paths})"
    yield Finding(key, "parameters", covered)
    reference = gradients["objective"] == "reference"
    quantity = family.reference_objective if reference else family.objective

    def loss(given: Rows) -> torch.Tensor:
        return quantity(given.latents, given.noise, given.timesteps, attributed.condition(given.read))

    yield from _objective(key, attributed, loss, rows, reference)
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


def _objective(key: str, attributed: AttributedNetworks, loss: Loss, rows: Rows, reference: bool) -> Iterator[Finding]:
    """Compare the loss of the gradients with that of a training step, computed from what the family predicts."""
    family = attributed.family
    given = (rows.latents, rows.noise, rows.timesteps)
    with torch.no_grad():
        found = loss(rows)
        target = family.target.of(*given).float()
        predicted = family.predict(*given, attributed.condition(rows.read)).float()
        trained = (predicted - target).square().flatten(1).mean(1)
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


def _alone(key: str, loss: Loss, rows: Rows) -> Iterator[Finding]:
    """Compare the loss of each sample in a batch with its loss alone."""
    with torch.no_grad():
        together = loss(rows)
        alone = torch.cat([loss(rows.of(row)) for row in range(2)])
    error = _relative(together, alone)
    if not error <= TOLERANCE:
        raise UserError(
            f"{key}: the loss of a sample differs by {error:.1%} with what else is in its batch, as where a denoiser "
            "normalises over a batch; use another base."
        )
    yield Finding(key, "batches", f"a sample's loss is the same alone, within {error:.0e}")


def _worst_error(engine: PerSampleGradients, chosen: Sequence[torch.Tensor], loss: Loss, rows: Rows) -> float:
    """Return the largest relative error of the engine's gradients against those of autograd, over rows."""
    sink = RawSink(engine.parameter_count, 2, dtype=torch.float32)
    with engine.capture(2, sink):
        loss(rows).sum().backward()
    errors = []
    for row in range(2):
        found = torch.autograd.grad(loss(rows)[row], chosen, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, found, strict=True)]
        errors.append(_relative(sink.gradient[row], torch.cat([value.reshape(-1).float() for value in flat])))
    return max(errors)


def _relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    length = float(torch.linalg.vector_norm(reference))
    return float(torch.linalg.vector_norm(found - reference)) / length if length else float("inf")
