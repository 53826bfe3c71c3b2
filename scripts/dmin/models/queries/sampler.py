"""A model that generates, its prompts encoded before its denoiser takes the memory."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dmin.models.families.family import Family
from dmin.models.families.prompts import tell_long_prompts
from dmin.models.families.sampling import Conditioning, Recorder, Sampling
from dmin.models.load import TrainedModel, load_trained
from dmin.models.spool import Spool
from dmin.runtime.device import resolve_device
from dmin.runtime.pace import Pace


@dataclass(frozen=True)
class Sampler:
    """A loaded model without text encoders, and the conditioning of its prompts.

    ``shape`` is that of its noise, ``(c, h, w)``; ``conditioning`` holds tensors ``[prompts, ...]`` in a file,
    ``unconditional`` those of no prompt, each ``[1, ...]``.
    """

    family: Family
    shape: tuple[int, ...]
    conditioning: Mapping[str, torch.Tensor]
    unconditional: Conditioning

    def sample(
        self, rows: slice, noise: torch.Tensor, settings: Sampling, record: Recorder | None = None
    ) -> np.ndarray:
        """Generate the images of the prompts ``rows`` from ``noise``, as :meth:`Family.sample` does."""
        device = self.family.device
        given = {name: value[rows].to(device) for name, value in self.conditioning.items()}
        nothing = {name: value.to(device) for name, value in self.unconditional.items()}
        return self.family.sample(given, nothing, noise, settings, record)


@contextmanager
def open_sampler(
    model: TrainedModel, prompts: Sequence[str], names: Sequence[str], size: int, pace: Pace
) -> Iterator[Sampler]:
    """Yield a model that generates images of ``size`` from ``prompts``, those of the queries ``names``.

    Text encoders are in memory before the denoiser is, and never beside it; what they make goes to disk.

    Raises:
        UserError: as :func:`load_trained`, or the model generates no images of that size.
    """
    device = resolve_device(pace.device)
    with tempfile.TemporaryDirectory() as folder, Spool(Path(folder)) as spool:
        family = load_trained(model, device, ["text"])
        shape = family.latent_shape(size)
        tell_long_prompts(family.long_prompts(prompts), names)
        unconditional = {name: value.cpu() for name, value in family.encode_nothing().items()}
        for first in range(0, len(prompts), pace.batch):
            for name, value in family.encode_prompts(prompts[first : first + pace.batch]).items():
                spool.add(name, value)
        del family
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        family = load_trained(model, device, ["autoencoder", "denoiser"])
        family.require_latents(shape)
        yield Sampler(family, shape, spool.tensors(), unconditional)
