"""Options of the attribution methods, checked against their limits."""

from __future__ import annotations

import math
from typing import Any

from dmin.runtime.errors import UserError
from dmin.settings.runs import Options

EFFICIENTNET = "efficientnet"


def relative_lambda(options: Options) -> float:
    """Return ``relative_lambda``, the ridge penalty as a multiple of ``trace(K) / n``.

    Raises:
        UserError: it is no positive finite number.
    """
    return check_relative_lambda(options["relative_lambda"])


def check_relative_lambda(value: Any) -> float:
    """Return ``value`` as a float.

    Raises:
        UserError: it is no positive finite number.
    """
    return _positive("relative_lambda", value, "a positive number, such as 0.1")


def lambda_grid(options: Options) -> list[float]:
    """Return ``lambda_grid``, the values of ``relative_lambda`` to choose from.

    Raises:
        UserError: one is no positive finite number.
    """
    return [check_relative_lambda(value) for value in options["lambda_grid"]]


def damping(options: Options) -> float:
    """Return ``damping``, the multiple of a tensor's mean squared gradient element that datainf and lissa_gram add.

    Raises:
        UserError: it is no positive finite number.
    """
    return _positive("damping", options["damping"], "a positive number, such as 0.1")


def lissa_alpha(options: Options) -> float | None:
    """Return ``lissa_alpha``, the step of lissa_gram's recursion; None for ``auto``.

    Raises:
        UserError: it is neither ``auto`` nor a positive finite number.
    """
    value = options["lissa_alpha"]
    return None if value == "auto" else _positive("lissa_alpha", value, "auto or to a positive number")


def train_timestep(options: Options) -> str:
    """Return ``train_timestep``, ``mean`` or ``one``.

    Raises:
        UserError: it is another value.
    """
    value = options["train_timestep"]
    if value not in ("mean", "one"):
        raise UserError(f"train_timestep is {value!r}; set it to mean or one.")
    return value


def encoder_name(encoder: str, revision: str | None = None) -> str:
    """Return the name of an image encoder as tables show it, such as ``EfficientNet-Lite0 (not CLIP)``.

    Args:
        encoder: ``efficientnet``, or a CLIP model's hub name or folder.
        revision: of a CLIP model on the hub.
    """
    if encoder == EFFICIENTNET:
        return "EfficientNet-Lite0 (not CLIP)"
    return f"CLIP {encoder}@{revision}" if revision else f"CLIP {encoder}"


def _positive(name: str, value: Any, advice: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise UserError(f"{name} is {value!r}; set it to {advice}.")
    return float(value)
