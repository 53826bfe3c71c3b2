"""Cache what LiSSA makes of the queries' gradients, so that its scores are products with the training cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.gauss_newton import GaussNewton
from dmin.gradients.mean_sink import MeanSink
from dmin.gradients.noise import draw_noise
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.selection import select_parameters
from dmin.gradients.shard import write_shard
from dmin.gradients.sketch import CountSketch
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_trained
from dmin.runtime.deadline import StopRequest
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import base_digest, config_digest, file_digest, weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.progress import Progress
from dmin.runtime.provenance import provenance
from dmin.runtime.sidecar import only_writer

log = logging.getLogger(__name__)

# Draws whose largest eigenvalue sets the scale; a later draw may exceed it by a little.
SCALE_DRAWS = 3
SAFETY = 1.2


class LissaPass:
    """Solves ``(G + lambda I) h = v`` for the queries' gradients ``v`` by LiSSA's recursion.

    ``G`` is the Gauss-Newton matrix of the training loss. ``lambda`` is ``damping`` times its largest eigenvalue,
    and the recursion's scale ``s`` their sum with a margin, which makes it converge.

    Args:
        config: the section ``gradients`` of the run.
        lissa: ``products`` (iterations), ``batch`` (training samples of a draw), ``damping``, ``seed``.
    """

    def __init__(
        self,
        family: Family,
        samples: EncodedSamples,
        config: Mapping[str, Any],
        lissa: Mapping[str, Any],
        timesteps: list[int],
        device: torch.device,
    ) -> None:
        self._family, self._config, self._lissa = family, config, lissa
        self._timesteps, self._device = timesteps, device
        parameters = select_parameters(family.denoiser, config["parameters"])
        self._engine = PerSampleGradients(family.denoiser, parameters)
        self.parameter_count = self._engine.parameter_count
        self.sketch = CountSketch(
            self.parameter_count, config["cache_dim"], config["sketch_seed"], device, config["sketch_kind"]
        )
        self._curvature = GaussNewton(family, parameters, samples, lissa["batch"], lissa["seed"], device)
        largest = self._curvature.largest_eigenvalue(SCALE_DRAWS)
        if largest <= 0:
            raise UserError("The Gauss-Newton matrix of the training loss is zero; check that the model was trained.")
        self.damping = lissa["damping"] * largest
        self.scale = SAFETY * (largest + self.damping)
        log.info("largest eigenvalue %.3g, damping %.3g, scale %.3g", largest, self.damping, self.scale)

    def compute(self, queries: EncodedSamples) -> dict[str, torch.Tensor]:
        """Return ``sketch [m, 1, cache_dim]`` fp16 of ``h / |h|`` and ``norm [m, 1]`` fp32, ``|h|``.

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
        return {"sketch": self.sketch.apply(answer / norm).half().unsqueeze(1), "norm": norm}

    def _gradients(self, queries: EncodedSamples) -> torch.Tensor:
        """Return each query's gradient averaged over the timesteps, ``[m, P]``."""
        count, steps = len(queries.ids), len(self._timesteps)
        pairs = [(name, timestep) for name in queries.ids for timestep in self._timesteps]
        noise = draw_noise(self._config["noise"], pairs, queries.latents.shape[1:])
        sink = RawSink(self.parameter_count, count, self._device)
        with self._engine.capture(count * steps, MeanSink(sink, steps)):
            losses = self._family.objective(
                queries.latents.repeat_interleave(steps, 0).to(self._device),
                noise.to(self._device),
                torch.tensor(self._timesteps).repeat(count).to(self._device),
                {
                    name: value.repeat_interleave(steps, 0).to(self._device)
                    for name, value in queries.conditioning.items()
                },
            )
            losses.sum().backward()
        return sink.gradient

    def _require(self, good: torch.Tensor, queries: EncodedSamples, fault: str) -> None:
        if not good.all():
            name = queries.ids[int((~good).nonzero()[0, 0])]
            raise UserError(f"LiSSA of query '{name}' {fault}; raise influence.options.lissa_damping.")


def cache_lissa(
    samples: Path,
    queries: Path,
    weights: Path,
    base: Mapping[str, Any],
    config: Mapping[str, Any],
    lissa: Mapping[str, Any],
    start: int,
    stop: int,
    shard: Path,
    metrics: Path,
    device: str,
    batch: int,
    request: StopRequest | None = None,
) -> None:
    """Write the shard of queries ``start`` to ``stop``: LiSSA's answers in the sketch space of the loss cache.

    ``batch`` queries share every product. A killed job resumes after the last of them that finished. ``request`` is
    asked before each of them.

    Raises:
        UserError: see :class:`LissaPass`; another process makes the shard; or ``request`` asked for the end.

    Source: LiSSA with Gauss-Newton products; for diffusion models, the comparison of Diffusion-ReTrac.
    """
    where = resolve_device(device)
    asked = EncodedSamples.load(queries, start, stop)
    family = load_trained(base, weights, where, ["denoiser"])
    timesteps = timestep_grid(config["timesteps"], base["family"])
    solver = LissaPass(family, EncodedSamples.load(samples), config, lissa, timesteps, where)
    metadata = {
        "feature": "lissa",
        "quantity": "loss",
        "draws": 1,
        "model": weights_digest(weights),
        "base": base_digest(base),
        "parameters": config["parameters"],
        "P": solver.parameter_count,
        "timesteps": ["mean"],
        "noise": config["noise"],
        "objective": "training",
        "precision": "float32",
        "cache_dim": config["cache_dim"],
        "sketch_kind": config["sketch_kind"],
        "sketch_seed": config["sketch_seed"],
        "lissa": {**lissa, "timesteps": timesteps},
    }
    settings = {**metadata, "samples": file_digest(samples), "queries": file_digest(queries), "ids": list(asked.ids)}
    shapes = {
        "sketch": ((len(asked.ids), 1, config["cache_dim"]), np.float16),
        "norm": ((len(asked.ids), 1), np.float32),
    }
    resume = shard.parent / ".resume"
    with only_writer(resume, shard.stem):
        progress = Progress(resume, shard.stem, config_digest(settings), settings, shapes)
        with Meter() as meter:
            began, first = time.monotonic(), progress.done
            while progress.done < len(asked.ids):
                progress.end_if_due(request)
                progress.store(solver.compute(asked.rows(progress.done, progress.done + batch)))
                pace = (progress.done - first) / (time.monotonic() - began)
                left = (len(asked.ids) - progress.done) / pace
                log.info("%d of %d queries, %.2f per second, %.0f s to go", progress.done, len(asked.ids), pace, left)
        tensors = {name: np.array(array) for name, array in progress.arrays.items()}
        made_from = {"weights": metadata["model"], "base": metadata["base"]}
        made_from |= {role: settings[role] for role in ("samples", "queries")}
        write_shard(shard, asked.ids, metadata, tensors, provenance({"gradients": config, "lissa": lissa}, made_from))
        meter.write(
            metrics,
            samples=len(asked.ids),
            timesteps=len(timesteps),
            evaluations=len(asked.ids) * (len(timesteps) + lissa["products"] * lissa["batch"]),
            parameters=solver.parameter_count,
            bytes=sum(array.nbytes for array in tensors.values()),
            raw_bytes=4 * solver.parameter_count * len(asked.ids),
        )
        progress.discard()
