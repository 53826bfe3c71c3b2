"""A pipeline's noise schedule, read strictly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dmin.models.gate.pipeline import StoredPipeline
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# Schedulers of diffusers that share the noise schedule of DDPM, or of rectified flow, and differ in their steps alone.
# Others, as those of EDM, score models and distilled models, mean another objective by the same keys.
_DIFFUSION = (
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
_FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
_UNNAMED = "unnamed"
STEPS = 1000


def load_scheduler(kind: Any, stored: StoredPipeline, predictions: Sequence[str]) -> Any:
    """Return the scheduler of a pipeline as the class ``kind``.

    ``predictions`` are the prediction types that the family's objective has a target for; none for flow matching.

    Raises:
        OSError: the pipeline cannot be reached at all.
        UserError: the pipeline has no scheduler, one of the other sort (flow matching or not), of an unknown
            prediction type, or not of 1,000 training timesteps.
    """
    base = stored.path
    config = stored.config(kind, "scheduler")
    name = shown(config.get("_class_name", _UNNAMED))
    if name not in (*(_DIFFUSION if predictions else _FLOW), _UNNAMED):
        raise UserError(
            f"The scheduler of '{base}' is {name}, which does not belong to this family; set family to match the base."
        )
    prediction = config.get("prediction_type", "epsilon")
    if predictions and prediction not in predictions:
        raise UserError(
            f"The scheduler of '{base}' has prediction_type '{shown(prediction)}'; {' and '.join(predictions)} are "
            "supported."
        )
    steps = config.get("num_train_timesteps", 1000)
    if steps != STEPS:
        raise UserError(
            f"The scheduler of '{base}' has {shown(repr(steps))} training timesteps; only {STEPS} are supported."
        )
    return kind.from_config(config)
