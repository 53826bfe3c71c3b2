"""What a gradient cache holds, and the settings that it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from dmin.gradients.curvature import CurvatureFit
from dmin.settings.runs import GradientNoise, Scale, Timesteps


class SketchedGradients(TypedDict):
    """What every cache has of a run's section ``gradients``: which gradients, under which noise, sketched how."""

    parameters: str
    noise: GradientNoise
    cache_dim: int
    sketch_seed: int


class LissaGradients(SketchedGradients):
    """The same for LiSSA's answers."""

    timesteps: Timesteps
    sketch_kind: Literal["permutation", "rolled"]


class GradientSettings(SketchedGradients):
    """The same for gradients; ``timesteps`` are absent where a trajectory or the training log names them.

    ``scale`` and ``curvature`` stand in the caches under one alone.
    """

    objective: Literal["training", "reference"]
    timesteps: NotRequired[Timesteps]
    sketch_kind: Literal["permutation", "rolled", "blocks"]
    keep_raw: bool
    precision: Literal["float32", "bfloat16", "float16"]
    on_bad_loss: Literal["error", "skip"]
    scale: NotRequired[Scale]
    curvature: NotRequired[CurvatureFit]


class KindSettings(TypedDict):
    """What is differentiated, and over how many noises (``draws``) a gradient is averaged.

    ``steps`` is how many steps of a trajectory are taken; ``checkpoint`` the update after which a replay ends;
    ``power`` how often the factors of a scale are applied, ``damping`` what is added to a curvature, as a multiple of
    its mean. ``width`` is what sketches are folded to before they are stored, in float32; ``layers`` says that every
    group of layers has a sketch and a norm of its own.
    """

    quantity: Literal["loss", "output_norm", "output_mean"]
    draws: int
    steps: NotRequired[int]
    checkpoint: NotRequired[int]
    power: NotRequired[int]
    damping: NotRequired[float]
    width: NotRequired[int]
    layers: NotRequired[bool]


@dataclass(frozen=True)
class CacheKind:
    """A kind of gradient cache.

    Attributes:
        name: in the names of files, such as ``loss`` or ``journey``.
        settings: what is differentiated.
        trajectory: the file of what sampling predicted; gradients are taken along it.
        replay: the training log; each sample has the one timestep, noise and prompt that it was last trained with.
        scale: the factor of each tensor's gradient.
        curvature: what each tensor's gradient is multiplied by the inverse of.
    """

    name: str
    settings: KindSettings
    trajectory: Path | None = None
    replay: Path | None = None
    scale: Path | None = None
    curvature: Path | None = None
