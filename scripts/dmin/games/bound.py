"""The evidence lower bound of a denoising diffusion model."""

from __future__ import annotations

import math

import torch

from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.targets.diffusion import Epsilon, Velocity
from dmin.runtime.errors import UserError
from dmin.runtime.seeds import derive_generator

# Half the distance between two of the 256 values of a pixel in [-1, 1].
HALF_STEP = 1 / 255


@torch.no_grad()
def lower_bounds(family: Family, encoded: EncodedSamples, steps: list[int], seed: int, batch: int) -> torch.Tensor:
    """Return an estimate of the evidence lower bound of each sample, float64 ``[samples]``, in bits per value.

    The sum over all 1,000 timesteps of the divergence of the learnt from the true step back is estimated by those of
    ``steps``; the variance of a step is that of the true one. At timestep 0 it is the likelihood of the 256 values
    of a pixel; the divergence of the last noise from the standard normal is added. Noises depend on the sample and the
    timestep alone.

    Raises:
        UserError: the model is no denoising diffusion model.

    Source: Ho et al. 2020, equation 5.
    """
    if not isinstance(family.target, Epsilon):
        raise UserError(
            f"The behaviour elbo is of denoising diffusion, and the family {family.name} predicts a flow; leave it out."
        )
    products = family.target.scheduler.alphas_cumprod.double()
    inner = sorted({step for step in steps if step > 0})
    # The first timestep is the decoder's, and always taken.
    pairs = [(row, step) for row in range(len(encoded.ids)) for step in [0, *inner]]
    terms = torch.cat(
        [_terms(family, encoded, pairs[at : at + batch], products, seed) for at in range(0, len(pairs), batch)]
    )
    table = terms.view(len(encoded.ids), -1)
    steps_back = table[:, 1:].mean(1) * (len(products) - 1) if inner else torch.zeros(len(table), dtype=torch.float64)
    prior = _prior(encoded.latents.double(), products[-1])
    return -(table[:, 0] + steps_back + prior) / math.log(2)


def _terms(
    family: Family, encoded: EncodedSamples, pairs: list[tuple[int, int]], products: torch.Tensor, seed: int
) -> torch.Tensor:
    """Return the term of each (row, timestep), the mean over the values of the latent, float64, in nats."""
    rows = torch.tensor([row for row, _ in pairs])
    steps = torch.tensor([step for _, step in pairs])
    shape = encoded.latents.shape[1:]
    noise = torch.stack(
        [torch.randn(shape, generator=derive_generator(seed, "bound", encoded.ids[row], step)) for row, step in pairs]
    )
    conditioning = {name: value[rows].to(family.device) for name, value in encoded.conditioning.items()}
    clean = encoded.latents[rows]
    output = family.predict(clean.to(family.device), noise.to(family.device), steps.to(family.device), conditioning)
    product = products[steps].view(-1, *[1] * len(shape))
    before = torch.where(steps > 0, products[steps - 1], torch.ones(())).view_as(product)
    noised = product.sqrt() * clean.double() + (1 - product).sqrt() * noise.double()
    found = _clean(family, noised, output.double().cpu(), product)
    beta = 1 - product / before
    variance = beta * (1 - before) / (1 - product)
    weight = before * beta.square() / (1 - product).square()
    back = weight * (found - clean.double()).square() / (2 * variance.clamp(min=1e-20))
    first = _decoder(clean.double(), found, (1 - products[1] / products[0]) * (1 - products[0]) / (1 - products[1]))
    chosen = torch.where((steps > 0).view_as(product), back, first)
    return chosen.flatten(1).mean(1)


def _clean(family: Family, noised: torch.Tensor, output: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """Return the clean latents that the denoiser's output stands for, cut to [-1, 1] where the pipeline does so."""
    if isinstance(family.target, Velocity):
        found = product.sqrt() * noised - (1 - product).sqrt() * output
    else:
        found = (noised - (1 - product).sqrt() * output) / product.sqrt()
    return found.clamp(-1, 1) if family.target.scheduler.config.clip_sample else found


def _decoder(clean: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of each value of ``clean``, of 256 in [-1, 1], by a normal around ``mean``."""
    scale = variance.sqrt()

    def below(edge: torch.Tensor) -> torch.Tensor:
        return torch.special.ndtr((edge - mean) / scale)

    high = torch.where(clean > 1 - HALF_STEP, torch.ones_like(clean), below(clean + HALF_STEP))
    low = torch.where(clean < -1 + HALF_STEP, torch.zeros_like(clean), below(clean - HALF_STEP))
    return -(high - low).clamp(min=1e-12).log()


def _prior(clean: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """Return the divergence of the last noised latents from the standard normal, by sample, averaged over values."""
    mean, variance = product.sqrt() * clean, 1 - product
    return (0.5 * (mean.square() + variance - 1 - variance.log())).flatten(1).mean(1)
