"""Gradients of a batch of samples at their timesteps, sketched."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch

from dmin.gradients.attributed_networks import AttributedNetworks
from dmin.gradients.cache_inputs import CacheInputs
from dmin.gradients.cache_kind import GradientSettings, KindSettings
from dmin.gradients.capture import GradientSink, Watch
from dmin.gradients.curvature import SolvedSink, TensorCurvature
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.layer_sink import LayerSink, layer_group
from dmin.gradients.mean_sink import MeanSink
from dmin.gradients.noise import draw_noise
from dmin.gradients.scale import ScaledSink
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.gradients.sketches.fold import fold
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.training.batch import flip_rows
from dmin.runtime.errors import UserError
from dmin.runtime.precision import LOSS_SCALE, autocast, deterministic_attention

log = logging.getLogger(__name__)

# What can be differentiated, and the method of a family that computes it.
QUANTITIES = {"loss": "objective", "output_norm": "output_norm", "output_mean": "output_mean"}
# Which of them come with the error of the output, ``[2, rows]`` in place of ``[rows]``.
WITH_ERROR = ("output_mean",)
_SINGLE_PRECISION = ("norm", "error")


@dataclass
class GradientPass:
    """Unit sketches and norms of (sample, timestep) rows; a row is ``(index of the sample, timestep)``.

    With a trajectory among its ``inputs``, a row is taken at the clean latents that sampling predicted at its
    timestep; with a replay, under the noise and the prompt, or none, that the sample was trained with; with a scale,
    the gradient of each tensor is multiplied by its factor first; with a curvature, by the inverse of that.
    """

    family: Family
    encoded: EncodedSamples
    config: GradientSettings
    kind: KindSettings
    inputs: CacheInputs = field(default_factory=CacheInputs)

    def __post_init__(self) -> None:
        reference = self.config["objective"] == "reference" and self.kind["quantity"] == "loss"
        named = "reference_objective" if reference else QUANTITIES[self.kind["quantity"]]
        self.quantity = getattr(self.family, named)
        self.attributed = AttributedNetworks.select(self.family, self.config["parameters"])
        self.engine = PerSampleGradients(self.attributed.network, self.attributed.parameters)
        self.loss_scale = LOSS_SCALE[self.config["precision"]]

    @cached_property
    def sketch(self) -> CountSketch | BlockSketch:
        """The map that compresses the gradients."""
        width, seed, device = self.config["cache_dim"], self.config["sketch_seed"], self.family.device
        if self.config["sketch_kind"] == "blocks":
            return BlockSketch(self.engine.sizes, width, seed, device)
        return CountSketch(self.engine.parameter_count, width, seed, device, self.config["sketch_kind"])

    @cached_property
    def _curvature(self) -> dict[int, TensorCurvature]:
        curvature = self.inputs.curvature
        return {} if curvature is None else curvature.at(self.engine.offsets, self.family.device)

    @property
    def layers(self) -> list[str]:
        """The groups of layers that a gradient is split into, in the order of the flat gradient."""
        return list(dict.fromkeys(map(layer_group, self.engine.offsets)))

    @property
    def groups(self) -> tuple[int, ...]:
        """How many sketches each row has beside each other: one for every group of layers, or one without an axis."""
        return (len(self.layers),) if self.kind.get("layers") else ()

    def compute(self, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """Return ``sketch [rows, cache_dim]`` fp16, ``norm [rows]`` fp32, and what else the kind or the config has.

        With the mean output comes its ``error [rows]`` fp32, with ``keep_raw`` the unit gradients ``raw [rows, P]``.
        Of a kind with a ``width``, the sketch is folded to it and fp32; with ``layers``, sketch and norm have an axis
        of these after that of the rows. Samples of several shapes are evaluated shape by shape.
        """
        found = [self._compute(run) for run in self.runs(rows)]
        return found[0] if len(found) == 1 else {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def runs(self, rows: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Yield neighbouring rows whose latents are of one shape together."""
        yield from (rows[run] for run in self.encoded.runs([sample for sample, _ in rows]))

    def _compute(self, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        sink = self._sink(len(rows))
        losses, *error = self.differentiate(rows, self._preconditioned(sink)).view(-1, len(rows))
        unit, norm = sink.finish()
        # Half-precision gradients of a mean over many elements underflow; the scale leaves with the norm.
        norm = norm / self.loss_scale
        width = self.kind.get("width")
        result = {"sketch": unit if width is None else fold(unit, width), "norm": norm}
        result |= dict(zip(["error"], error, strict=False))
        if self.config["keep_raw"] and isinstance(sink, SketchSink):
            result["raw"] = sink.unit_gradient()
        whole = norm if norm.ndim == 1 else torch.linalg.vector_norm(norm, dim=1)
        self._check(losses, whole, [(self.encoded.ids[sample], timestep) for sample, timestep in rows], result)
        single = _SINGLE_PRECISION if width is None else (*_SINGLE_PRECISION, "sketch")
        return {name: value.to(torch.float32 if name in single else torch.float16) for name, value in result.items()}

    def _sink(self, rows: int) -> SketchSink | LayerSink:
        if self.kind.get("layers"):
            return LayerSink(self.sketch, rows, {at: layer_group(name) for name, at in self.engine.offsets.items()})
        return SketchSink(self.sketch, rows, keep_raw=self.config["keep_raw"])

    def _preconditioned(self, sink: GradientSink) -> GradientSink:
        scale, curvature = self.inputs.scale, self.inputs.curvature
        if scale is not None:
            sink = ScaledSink(sink, scale.at(self.engine.offsets))
        return sink if curvature is None else SolvedSink(sink, self._curvature, curvature.damping)

    def differentiate(
        self, rows: list[tuple[int, int]], sink: GradientSink, watch: Watch | None = None
    ) -> torch.Tensor:
        """Feed ``sink`` the gradient of each row, ``loss_scale`` times too large, and return what was differentiated.

        The rows are of one shape. ``watch`` is that of :meth:`PerSampleGradients.capture`.

        Returns:
            ``[rows]``; where its error comes with it, ``[2, rows]``.
        """
        draws, trajectory, replay = self.kind["draws"], self.inputs.trajectory, self.inputs.replay
        index = torch.tensor([sample for sample, _ in rows]).repeat_interleave(draws)
        timesteps = torch.tensor([timestep for _, timestep in rows]).repeat_interleave(draws)
        if trajectory is not None:
            latents = trajectory.at(rows).repeat_interleave(draws, 0)
        else:
            latents = self.encoded.latents_at(index)
        shape = latents.shape[1:]
        if replay is None:
            names = [(self.encoded.noised_as[sample], timestep) for sample, timestep in rows]
            noise = draw_noise(self.config["noise"], names, shape, draws)
        else:
            noise = replay.noise(index.tolist(), shape)
            latents = flip_rows(latents, replay.flipped(index.tolist()))
        masks = self.encoded.masks
        mask = None if masks is None else masks[index].to(self.family.device)
        averaged = sink if draws == 1 else MeanSink(sink, draws)
        with deterministic_attention(self.family.device), self.engine.capture(len(index), averaged, watch):
            with autocast(self.config["precision"], self.family.device):
                values = self.quantity(
                    latents.to(self.family.device),
                    noise.to(self.family.device),
                    timesteps.to(self.family.device),
                    self._conditioning(index),
                    mask,
                )
            (values.view(-1, len(index))[0].sum() * self.loss_scale).backward()
        return values.detach().unflatten(-1, (-1, draws)).mean(-1)

    def _conditioning(self, index: torch.Tensor) -> dict[str, torch.Tensor]:
        given = self.attributed.read_of(self.encoded)
        rows = self.attributed.condition({name: value[index] for name, value in given.items()})
        if self.inputs.replay is not None:
            # Of a model that was trained here, which no adapter with text encoders is.
            dropped = self.inputs.replay.dropped(index.tolist()).to(self.family.device)
            for name, value in rows.items():
                value[dropped] = self.encoded.unconditional[name].to(self.family.device)
        return rows

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
