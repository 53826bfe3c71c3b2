"""Settings of the attribution methods, with their defaults and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dmin.runtime.errors import UserError

# Not tuned on any benchmark: a tenth of the kernel's mean diagonal. Published values were chosen on the test data.
RELATIVE_LAMBDA = 0.1
SEED = 42
LAMBDA_GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
TRAIN_TIMESTEP = "mean"
DAMPING = 0.1
LISSA_ITERATIONS = 10
ENCODER = "openai/clip-vit-base-patch32"
EFFICIENTNET = "efficientnet"


def relative_lambda(settings: Mapping[str, Any]) -> float:
    """Return ``relative_lambda``, the ridge penalty as a multiple of ``trace(K) / n``; 0.1 where it is not set.

    Raises:
        UserError: it is no positive finite number.
    """
    return check_relative_lambda(settings.get("relative_lambda", RELATIVE_LAMBDA))


def check_relative_lambda(value: Any) -> float:
    """Return ``value`` as a float.

    Raises:
        UserError: it is no positive finite number.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise UserError(f"relative_lambda is {value!r}; set it to a positive number, such as {RELATIVE_LAMBDA}.")
    return float(value)


def lambda_grid(settings: Mapping[str, Any]) -> list[float]:
    """Return ``lambda_grid``, the values of ``relative_lambda`` to choose from; powers of ten where it is not set.

    Raises:
        UserError: one is no positive finite number.
    """
    return [check_relative_lambda(value) for value in settings.get("lambda_grid", LAMBDA_GRID)]


def damping(settings: Mapping[str, Any]) -> float:
    """Return ``damping``, the multiple of a tensor's mean squared gradient element that datainf and lissa_gram add.

    Raises:
        UserError: it is no positive finite number.
    """
    value = settings.get("damping", DAMPING)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UserError(f"damping is {value!r}; set it to a positive number, such as {DAMPING}.")
    return float(value)


def lissa_iterations(settings: Mapping[str, Any]) -> int:
    """Return ``lissa_iterations``, the length of lissa_gram's recursion; 10 where it is not set."""
    return int(settings.get("lissa_iterations", LISSA_ITERATIONS))


def lissa_alpha(settings: Mapping[str, Any]) -> float | None:
    """Return ``lissa_alpha``, the step of lissa_gram's recursion; None for ``auto``, the default.

    Raises:
        UserError: it is neither ``auto`` nor a positive finite number.
    """
    value = settings.get("lissa_alpha", "auto")
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UserError(f"lissa_alpha is {value!r}; set it to auto or to a positive number.")
    return float(value)


def method_seed(settings: Mapping[str, Any]) -> int:
    """Return ``seed``, the root of the seeds that a method draws from; 42 where it is not set."""
    return int(settings.get("seed", SEED))


def train_timestep(settings: Mapping[str, Any]) -> str:
    """Return ``train_timestep``, ``mean`` or ``one``; ``mean`` where it is not set.

    Raises:
        UserError: it is another value.
    """
    value = settings.get("train_timestep", TRAIN_TIMESTEP)
    if value not in ("mean", "one"):
        raise UserError(f"train_timestep is {value!r}; set it to mean or one.")
    return str(value)


def encoder(settings: Mapping[str, Any]) -> str:
    """Return ``encoder``: ``efficientnet``, or a CLIP model's hub name or folder; OpenAI's ViT-B/32 if not set."""
    return str(settings.get("encoder") or ENCODER)


def encoder_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the image encoder as tables show it, such as ``EfficientNet-Lite0 (not CLIP)``."""
    name = encoder(settings)
    if name == EFFICIENTNET:
        return "EfficientNet-Lite0 (not CLIP)"
    revision = settings.get("revision")
    return f"CLIP {name}@{revision}" if revision else f"CLIP {name}"
