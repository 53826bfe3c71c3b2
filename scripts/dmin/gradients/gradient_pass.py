"""Gradients of a batch of samples at their timesteps, sketched."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.mean_sink import MeanSink
from dmin.gradients.noise import draw_noise
from dmin.gradients.replay import Replay
from dmin.gradients.selection import select_parameters
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.queries.trajectory import Trajectory
from dmin.models.training.batch import flip_rows
from dmin.runtime.errors import UserError
from dmin.runtime.precision import LOSS_SCALE, autocast, deterministic_attention

log = logging.getLogger(__name__)

# What can be differentiated, and the method of a family that computes it.
QUANTITIES = {"loss": "objective", "output_norm": "output_norm"}


@dataclass
class GradientPass:
    """Unit sketches and norms of (sample, timestep) rows; a row is ``(index of the sample, timestep)``.

    With a ``trajectory``, a row is taken at the clean latents that sampling predicted at its timestep; with a
    ``replay``, under the noise and the prompt, or none, that the sample was trained with.
    """

    family: Family
    encoded: EncodedSamples
    config: GradientSettings
    kind: KindSettings
    trajectory: Trajectory | None = None
    replay: Replay | None = None

    def __post_init__(self) -> None:
        reference = self.config["objective"] == "reference" and self.kind["quantity"] == "loss"
        named = "reference_objective" if reference else QUANTITIES[self.kind["quantity"]]
        self.quantity = getattr(self.family, named)
        parameters = select_parameters(self.family.denoiser, self.config["parameters"])
        self.engine = PerSampleGradients(self.family.denoiser, parameters)
        self.sketch = self._make_sketch({name: value.numel() for name, value in parameters.items()})

    def _make_sketch(self, sizes: Mapping[str, int]) -> CountSketch | BlockSketch:
        width, seed, device = self.config["cache_dim"], self.config["sketch_seed"], self.family.device
        if self.config["sketch_kind"] == "blocks":
            return BlockSketch(sizes, width, seed, device)
        return CountSketch(sum(sizes.values()), width, seed, device, self.config["sketch_kind"])

    def compute(self, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """Return ``sketch [rows, cache_dim]`` fp16, ``norm [rows]`` fp32 and, if kept, ``raw [rows, P]`` fp16."""
        draws = self.kind["draws"]
        index = torch.tensor([sample for sample, _ in rows]).repeat_interleave(draws)
        timesteps = torch.tensor([timestep for _, timestep in rows]).repeat_interleave(draws)
        names = [(self.encoded.ids[sample], timestep) for sample, timestep in rows]
        clean, place = self.encoded.latents, index
        if self.trajectory is not None:
            clean, place = self.trajectory.at(rows), torch.arange(len(rows)).repeat_interleave(draws)
        if self.replay is None:
            noise = draw_noise(self.config["noise"], names, clean.shape[1:], draws)
            latents = clean[place]
        else:
            noise = self.replay.noise(index.tolist(), clean.shape[1:])
            latents = flip_rows(clean[place], self.replay.flipped(index.tolist()))
        conditioning = self._conditioning(index)
        sink = SketchSink(self.sketch, len(rows), keep_raw=self.config["keep_raw"])
        averaged = sink if draws == 1 else MeanSink(sink, draws)
        with deterministic_attention(self.family.device), self.engine.capture(len(index), averaged):
            with autocast(self.config["precision"], self.family.device):
                losses = self.quantity(
                    latents.to(self.family.device),
                    noise.to(self.family.device),
                    timesteps.to(self.family.device),
                    conditioning,
                )
            # Half-precision gradients of a mean over many elements underflow; the scale leaves with the norm.
            (losses.sum() * LOSS_SCALE[self.config["precision"]]).backward()
        unit, norm = sink.finish()
        norm = norm / LOSS_SCALE[self.config["precision"]]
        result = {"sketch": unit, "norm": norm}
        if self.config["keep_raw"]:
            result["raw"] = sink.unit_gradient()
        self._check(losses.detach().unflatten(0, (-1, draws)).mean(1), norm, names, result)
        return {name: value.to(torch.float32 if name == "norm" else torch.float16) for name, value in result.items()}

    def _conditioning(self, index: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = {name: value[index] for name, value in self.encoded.conditioning.items()}
        if self.replay is not None:
            dropped = self.replay.dropped(index.tolist())
            for name, value in rows.items():
                value[dropped] = self.encoded.unconditional[name]
        return {name: value.to(self.family.device) for name, value in rows.items()}

    def _check(
        self, losses: torch.Tensor, norm: torch.Tensor, names: list[tuple[str, int]], result: dict[str, torch.Tensor]
    ) -> None:
        bad = ~(torch.isfinite(losses) & torch.isfinite(norm) & (norm > 0))
        if not bad.any():
            return
        where = [(*names[i], losses[i].item(), norm[i].item()) for i in bad.nonzero()[:, 0].tolist()]
        sample, timestep, loss, length = where[0]
        found = f"{self.kind['quantity']} {loss:g}"
        sentence = f"sample '{sample}' at timestep {timestep} has {found} and gradient norm {length:g}"
        if self.config["on_bad_loss"] == "error":
            raise UserError(f"{sentence[0].upper()}{sentence[1:]}; mend it, or set gradients.on_bad_loss to skip.")
        log.warning("%d rows skipped, scored 0: %s", len(where), sentence)
        for value in result.values():
            value[bad] = 0.0
