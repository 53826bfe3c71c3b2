"""Cache the gradients of one range of samples."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.mean_sink import MeanSink
from dmin.gradients.noise import draw_noise
from dmin.gradients.replay import Replay
from dmin.gradients.selection import select_parameters
from dmin.gradients.shard import write_shard
from dmin.gradients.sketch import CountSketch, SketchSink
from dmin.gradients.sketches.blocks import BlockSketch
from dmin.gradients.timesteps import timestep_grid
from dmin.models.encoded import EncodedSamples
from dmin.models.families.family import Family
from dmin.models.load import load_trained
from dmin.models.queries.trajectory import Trajectory
from dmin.runtime.deadline import StopRequest
from dmin.runtime.device import resolve_device
from dmin.runtime.digests import base_digest, config_digest, file_digest, weights_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.precision import LOSS_SCALE, autocast, deterministic_attention
from dmin.runtime.progress import Progress
from dmin.runtime.provenance import provenance
from dmin.runtime.sidecar import only_writer

log = logging.getLogger(__name__)

# What can be differentiated, and the method of a family that computes it.
QUANTITIES = {"loss": "objective", "output_norm": "output_norm"}


@dataclass
class GradientPass:
    """Unit sketches and norms of (sample, timestep) rows; a row is ``(index of the sample, timestep)``.

    ``feature`` says what is differentiated (``quantity``) and over how many noises the gradient is averaged
    (``draws``). With a ``trajectory``, a row is taken at the clean latents that sampling predicted at its timestep;
    with a ``replay``, under the noise and the prompt, or none, that the sample was trained with.
    """

    family: Family
    encoded: EncodedSamples
    config: Mapping[str, Any]
    feature: Mapping[str, Any]
    device: torch.device
    trajectory: Trajectory | None = None
    replay: Replay | None = None

    def __post_init__(self) -> None:
        reference = self.config["objective"] == "reference" and self.feature["quantity"] == "loss"
        named = "reference_objective" if reference else QUANTITIES[self.feature["quantity"]]
        self.quantity = getattr(self.family, named)
        parameters = select_parameters(self.family.denoiser, self.config["parameters"])
        self.engine = PerSampleGradients(self.family.denoiser, parameters)
        self.sketch = self._make_sketch({name: value.numel() for name, value in parameters.items()})

    def _make_sketch(self, sizes: Mapping[str, int]) -> CountSketch | BlockSketch:
        width, seed, kind = (self.config[key] for key in ("cache_dim", "sketch_seed", "sketch_kind"))
        if kind == "blocks":
            return BlockSketch(sizes, width, seed, self.device)
        return CountSketch(sum(sizes.values()), width, seed, self.device, kind)

    def compute(self, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """Return ``sketch [rows, cache_dim]`` fp16, ``norm [rows]`` fp32 and, if kept, ``raw [rows, P]`` fp16."""
        draws = self.feature["draws"]
        index = torch.tensor([sample for sample, _ in rows]).repeat_interleave(draws)
        timesteps = torch.tensor([timestep for _, timestep in rows]).repeat_interleave(draws)
        names = [(self.encoded.ids[sample], timestep) for sample, timestep in rows]
        clean, place = self.encoded.latents, index
        if self.trajectory is not None:
            clean, place = self.trajectory.at(rows), torch.arange(len(rows)).repeat_interleave(draws)
        if self.replay is None:
            noise = draw_noise(self.config["noise"], names, clean.shape[1:], draws)
        else:
            noise = self.replay.noise(index.tolist(), clean.shape[1:])
        conditioning = self._conditioning(index)
        sink = SketchSink(self.sketch, len(rows), keep_raw=self.config["keep_raw"])
        averaged = sink if draws == 1 else MeanSink(sink, draws)
        with deterministic_attention(self.device), self.engine.capture(len(index), averaged):
            with autocast(self.config["precision"], self.device):
                losses = self.quantity(
                    clean[place].to(self.device),
                    noise.to(self.device),
                    timesteps.to(self.device),
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
        return {name: value.to(self.device) for name, value in rows.items()}

    def _check(
        self, losses: torch.Tensor, norm: torch.Tensor, names: list[tuple[str, int]], result: dict[str, torch.Tensor]
    ) -> None:
        bad = ~(torch.isfinite(losses) & torch.isfinite(norm) & (norm > 0))
        if not bad.any():
            return
        where = [(*names[i], losses[i].item(), norm[i].item()) for i in bad.nonzero()[:, 0].tolist()]
        sample, timestep, loss, length = where[0]
        found = f"{self.feature['quantity']} {loss:g}"
        sentence = f"sample '{sample}' at timestep {timestep} has {found} and gradient norm {length:g}"
        if self.config["on_bad_loss"] == "error":
            raise UserError(f"{sentence[0].upper()}{sentence[1:]}; mend it, or set gradients.on_bad_loss to skip.")
        log.warning("%d rows skipped, scored 0: %s", len(where), sentence)
        for value in result.values():
            value[bad] = 0.0


def cache_gradients(
    samples: Path,
    weights: Path,
    base: Mapping[str, Any],
    config: Mapping[str, Any],
    name: str,
    feature: Mapping[str, Any],
    start: int,
    stop: int,
    shard: Path,
    metrics: Path,
    device: str,
    batch: int,
    trajectory: Path | None = None,
    replay: Path | None = None,
    request: StopRequest | None = None,
) -> None:
    """Write the shard of samples ``start`` to ``stop``: unit sketches, norms and, if asked for, raw unit gradients.

    ``feature``, called ``name``, says what is differentiated: see :class:`GradientPass`. With a ``trajectory`` of
    the samples, gradients are taken along it, at ``feature["steps"]`` of its timesteps. With the training log
    ``replay``, each sample has the one timestep and noise that it was last trained with by ``feature["checkpoint"]``.
    Samples and timesteps mix in one batch of ``batch`` evaluations. A killed job resumes at its last finished
    micro-batch; running out of GPU memory halves the micro-batch and goes on. ``request`` is asked before
    every micro-batch.

    Raises:
        UserError: a loss or gradient is unusable (sample and timestep named), cache_dim exceeds the number of
            parameters, the disk is too small for the shard, another process makes it, or ``request`` asked for the end.
    """
    where = resolve_device(device)
    encoded = EncodedSamples.load(samples, start, stop)
    family = load_trained(base, weights, where, ["denoiser"])
    journey = repeated = None
    if trajectory is not None:
        journey = Trajectory.load(trajectory, encoded.ids, start, stop).thinned(feature["steps"])
    if replay is not None:
        repeated = Replay.load(replay, encoded.ids, feature["checkpoint"])
    gradient_pass = GradientPass(family, encoded, config, feature, where, journey, repeated)
    timesteps: list[Any] = ["replayed"]
    if repeated is None:
        timesteps = journey.timesteps if journey else timestep_grid(config["timesteps"], base["family"])
    width, parameters = config["cache_dim"], gradient_pass.engine.parameter_count
    metadata = {
        "feature": name,
        "quantity": feature["quantity"],
        "draws": feature["draws"],
        "model": weights_digest(weights),
        "base": base_digest(base),
        "parameters": config["parameters"],
        "P": parameters,
        "timesteps": timesteps,
        "noise": config["noise"],
        "objective": "trajectory" if journey else "replay" if repeated else config["objective"],
        "precision": config["precision"],
        "cache_dim": width,
        "sketch_kind": config["sketch_kind"],
        "sketch_seed": config["sketch_seed"],
    }
    if isinstance(gradient_pass.sketch, BlockSketch):
        metadata["blocks"] = [list(astuple(block)) for block in gradient_pass.sketch.blocks]
    for line in gradient_pass.engine.coverage:
        log.info(
            "parameters by %s: %d tensors, %d values, %.1f %%",
            line.path,
            line.tensors,
            line.parameters,
            100 * line.share,
        )
    if repeated:
        rows = list(enumerate(repeated.timesteps))
    else:
        rows = [(sample, timestep) for sample in range(len(encoded.ids)) for timestep in timesteps]
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "sketch": ((len(rows), width), np.float16),
        "norm": ((len(rows),), np.float32),
    }
    if config["keep_raw"]:
        shapes["raw"] = ((len(rows), parameters), np.float16)
    require_space(shard, shapes)
    inputs = {"samples": samples, "trajectory": trajectory, "replay": replay}
    digests = {role: file_digest(path) if path else None for role, path in inputs.items()}
    settings = {
        **metadata,
        **digests,
        "ids": config_digest(encoded.ids),
        "arrays": sorted(shapes),
        "on_bad_loss": config["on_bad_loss"],
    }
    resume = shard.parent / ".resume"
    with only_writer(resume, shard.stem):
        progress = Progress(resume, shard.stem, config_digest(settings), settings, shapes)
        if progress.done:
            log.info("resuming after %d of %d evaluations", progress.done, len(rows))
        with Meter() as meter:
            fill(progress, gradient_pass, rows, max(1, batch // feature["draws"]), request)
        grid = (len(encoded.ids), len(timesteps))
        tensors = {name: np.array(array).reshape(*grid, *array.shape[1:]) for name, array in progress.arrays.items()}
        made_from = {"weights": metadata["model"], "base": metadata["base"]}
        made_from |= {role: digest for role, digest in digests.items() if digest}
        made = provenance({"gradients": config, "feature": feature}, made_from)
        write_shard(shard, encoded.ids, metadata, tensors, made)
        meter.write(
            metrics,
            samples=len(encoded.ids),
            timesteps=len(timesteps),
            evaluations=len(rows) * feature["draws"],
            parameters=parameters,
            bytes=sum(array.nbytes for name, array in tensors.items() if name != "raw"),
            raw_bytes=4 * parameters * len(rows),
        )
        progress.discard()


def fill(
    progress: Progress,
    gradient_pass: GradientPass,
    rows: list[tuple[int, int]],
    batch: int,
    request: StopRequest | None = None,
) -> None:
    """Compute the rows that ``progress`` lacks, ``batch`` at a time.

    Raises:
        UserError: one evaluation does not fit into the GPU's memory, or ``request`` asked for the end.
    """
    began, first, told = time.monotonic(), progress.done, time.monotonic()
    while progress.done < len(rows):
        progress.end_if_due(request)
        part = rows[progress.done : progress.done + batch]
        try:
            result = gradient_pass.compute(part)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise UserError("One evaluation does not fit into GPU memory; use a GPU with more.") from None
            torch.cuda.empty_cache()
            batch = (batch + 1) // 2
            log.warning("out of GPU memory; going on with %d evaluations at a time", batch)
            continue
        progress.store(result)
        if time.monotonic() - told > 10 or progress.done == len(rows):
            told = time.monotonic()
            pace = (progress.done - first) / (told - began)
            log.info(
                "%d of %d evaluations, %.1f per second, %.0f s to go",
                progress.done, len(rows), pace, (len(rows) - progress.done) / pace,
            )  # fmt: skip


def require_space(shard: Path, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
    """Check that the disk holds the shard and its resumable copy.

    Raises:
        UserError: it does not.
    """
    needed = 2 * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())
    shard.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(shard.parent).free
    if free < needed:
        raise UserError(
            f"The gradient shard '{shard}' needs {needed / 2**30:.1f} GiB of disk while it is made, and "
            f"{free / 2**30:.1f} GiB are free; free some space or lower gradients.shard_size."
        )
