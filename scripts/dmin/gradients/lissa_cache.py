"""Cache what LiSSA makes of the queries' gradients, so that its scores are products with the training cache."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from dmin.gradients.attributed_networks import AttributedNetworks, attributed_parts
from dmin.gradients.cache_kind import LissaGradients
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.gauss_newton import GaussNewton
from dmin.gradients.make_shard import ShardContents, ShardTask, make_shard, shared_metadata
from dmin.gradients.mean_sink import MeanSink
from dmin.gradients.noise import draw_noise
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples, require_one_shape
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_trained
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

log = logging.getLogger(__name__)

# Draws whose largest eigenvalue sets the scale; a later draw may exceed it by a little.
SCALE_DRAWS = 3
SAFETY = 1.2


class LissaSettings(TypedDict):
    """LiSSA's part of a run's ``influence.options``.

    ``products`` are its iterations, ``batch`` the training samples that each takes the curvature of.
    """

    products: int
    batch: int
    damping: float
    seed: int


class LissaPass:
    """Solves ``(G + lambda I) h = v`` for the queries' gradients ``v`` by LiSSA's recursion.

    ``G`` is the Gauss-Newton matrix of the training loss. ``lambda`` is ``damping`` times its largest eigenvalue,
    and the recursion's scale ``s`` their sum with a margin, which makes it converge.

    Args:
        samples: the training samples.
    """

    def __init__(
        self,
        family: Family,
        samples: EncodedSamples,
        config: LissaGradients,
        lissa: LissaSettings,
        timesteps: list[int],
    ) -> None:
        self._family, self._config, self._lissa = family, config, lissa
        self._timesteps = timesteps
        self._attributed = AttributedNetworks.select(family, config["parameters"])
        self._engine = PerSampleGradients(self._attributed.network, self._attributed.parameters)
        self.parameter_count = self._engine.parameter_count
        self.sketch = CountSketch(
            self.parameter_count, config["cache_dim"], config["sketch_seed"], family.device, config["sketch_kind"]
        )
        self._curvature = GaussNewton(self._attributed, samples, lissa["batch"], lissa["seed"])
        largest = self._curvature.largest_eigenvalue(SCALE_DRAWS)
        if largest <= 0:
            raise UserError("The Gauss-Newton matrix of the training loss is zero; check that the model was trained.")
        self.damping = lissa["damping"] * largest
        self.scale = SAFETY * (largest + self.damping)
        log.info("largest eigenvalue %.3g, damping %.3g, scale %.3g", largest, self.damping, self.scale)

    def compute(self, queries: EncodedSamples) -> dict[str, torch.Tensor]:
        """Return ``sketch [m, cache_dim]`` fp16 of ``h / |h|``, ``norm [m]`` fp32, ``|h|``, and ``cosine [m]`` fp32.

        The cosine is that of the answer and the gradient, in -1..1; near 1 the curvature changed nothing.

        Raises:
            UserError: a gradient is not finite or zero, or the recursion diverges; the query is named.
        """
        gradient = self._gradients(queries)
        lengths = torch.linalg.vector_norm(gradient, dim=1)
        self._require(torch.isfinite(lengths) & (lengths > 0), queries, "has no usable gradient")
        answer = gradient.clone()
        for draw in range(self._lissa["products"]):
            curved = self._curvature.product(answer, draw, len(answer))
            answer = gradient + answer - (curved + self.damping * answer) / self.scale
            # Whatever the curvature, the exact answer is no longer than |v| s / lambda.
            grown = torch.linalg.vector_norm(answer, dim=1) / lengths
            within = torch.isfinite(grown) & (grown <= 2 * self.scale / self.damping)
            self._require(within, queries, f"diverges at product {draw + 1}")
        answer = answer / self.scale
        norm = torch.linalg.vector_norm(answer, dim=1, keepdim=True)
        cosine = torch.cosine_similarity(answer, gradient, dim=1)
        log.info("cosine of answer and gradient: %.4f on average, %.4f at most", cosine.mean(), cosine.max())
        return {"sketch": self.sketch.apply(answer / norm).half(), "norm": norm[:, 0], "cosine": cosine}

    def _gradients(self, queries: EncodedSamples) -> torch.Tensor:
        """Return each query's gradient averaged over the timesteps, ``[m, P]``."""
        count, steps = len(queries.ids), len(self._timesteps)
        pairs = [(name, timestep) for name in queries.noised_as for timestep in self._timesteps]
        masks = queries.masks
        mask = None if masks is None else masks.repeat_interleave(steps, 0).to(self._family.device)
        noise = draw_noise(self._config["noise"], pairs, queries.latents.shape[1:])
        sink = RawSink(self.parameter_count, count, self._family.device)
        with self._engine.capture(count * steps, MeanSink(sink, steps)):
            losses = self._family.objective(
                queries.latents.repeat_interleave(steps, 0).to(self._family.device),
                noise.to(self._family.device),
                torch.tensor(self._timesteps).repeat(count).to(self._family.device),
                self._attributed.condition(
                    {
                        name: value.repeat_interleave(steps, 0)
                        for name, value in self._attributed.read_of(queries).items()
                    }
                ),
                mask,
            )
            losses.sum().backward()
        return sink.gradient

    def _require(self, good: torch.Tensor, queries: EncodedSamples, fault: str) -> None:
        if not good.all():
            name = queries.ids[int((~good).nonzero()[0, 0])]
            raise UserError(f"LiSSA of query '{name}' {fault}; raise influence.options.lissa_damping.")


def cache_lissa(
    task: ShardTask, train: Path, model: TrainedModel, config: LissaGradients, lissa: LissaSettings, pace: Pace
) -> None:
    """Write a shard of queries, the samples of ``task``: LiSSA's answers in the sketch space of the loss cache.

    ``pace.batch`` queries share every product; ``train`` are the encoded training samples that curvature is taken of.

    Raises:
        UserError: see :class:`LissaPass`, or as :func:`make_shard`.

    Source: LiSSA with Gauss-Newton products; for diffusion models, the comparison of Diffusion-ReTrac.
    """
    asked = task.read()
    family = load_trained(model, resolve_device(pace.device), attributed_parts(config["parameters"]))
    timesteps = timestep_grid(config["timesteps"], model.base["family"])
    samples = EncodedSamples.load(train)
    family.require_latents(asked.latents.shape[1:])
    require_one_shape(asked.latents, samples.latents, "queries", "training samples")
    solver = LissaPass(family, samples, config, lissa, timesteps)
    count, digests = len(asked.ids), model.digests()
    metadata = {
        **shared_metadata(config, digests, asked),
        "cache": "lissa",
        "quantity": "loss",
        "draws": 1,
        "P": solver.parameter_count,
        "timesteps": ["mean"],
        "objective": "training",
        "precision": "float32",
        "lissa": {**lissa, "timesteps": timesteps},
    }
    made_from = {"samples": file_digest(train), "queries": file_digest(task.samples)}
    if task.regions is not None:
        made_from["regions"] = file_digest(task.regions)
    contents = ShardContents(
        asked.ids,
        metadata,
        {
            "sketch": ((count, config["cache_dim"]), np.float16),
            "norm": ((count,), np.float32),
            "cosine": ((count,), np.float32),
        },
        {"gradients": config, "lissa": lissa},
        {**digests, **made_from},
    )
    make_shard(
        task,
        contents,
        lambda part: solver.compute(asked.rows(part.start, part.stop)),
        pace,
        "queries",
        timesteps=len(timesteps),
        evaluations=count * (len(timesteps) + lissa["products"] * lissa["batch"]),
    )
