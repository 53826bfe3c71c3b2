"""One factor per tensor, under which the gradients of all tensors weigh alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dmin.gradients.capture import GradientSink
from dmin.runtime.digests import config_digest
from dmin.runtime.errors import UserError
from dmin.runtime.readers import read_json
from dmin.settings.runs import Scale


@dataclass(frozen=True)
class TensorScale:
    """The factor of each tensor, by name, and what they were measured with; ``power`` is how often they are applied."""

    settings: Scale
    factors: Mapping[str, float]
    power: int = 1

    @classmethod
    def load(cls, path: Path, power: int) -> TensorScale:
        """Read what :func:`dmin.gradients.pilot_scale.pilot_scale` wrote.

        Raises:
            UserError: the file is torn, or a factor is no positive finite number.
        """
        content = read_json(path)
        try:
            factors = {str(row["tensor"]): float(row["factor"]) for row in content["tensors"]}
            settings: Scale = content["scale"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"Scale '{path}' is torn ({error}); delete it and run again.") from error
        for name, factor in factors.items():
            if not (math.isfinite(factor) and factor > 0):
                raise UserError(f"Scale '{path}' has the factor {factor} for '{name}'; delete it and run again.")
        return cls(settings, factors, power)

    def metadata(self) -> dict[str, Any]:
        """Return what the caches under this scale have in common, and tell them from those under another."""
        return {**self.settings, "power": self.power, "factors": config_digest(dict(self.factors))}

    def at(self, offsets: Mapping[str, int]) -> dict[int, float]:
        """Return the factor of the tensor that starts at each offset of the flat gradient.

        Raises:
            UserError: the scale was measured on other parameters.
        """
        if set(offsets) != set(self.factors):
            odd = min(set(offsets) ^ set(self.factors))
            raise UserError(f"The scale of the gradients and the model differ in the tensor '{odd}'; delete the scale.")
        return {offset: self.factors[name] ** self.power for name, offset in offsets.items()}


class ScaledSink:
    """Multiplies the gradient of each tensor by its factor before another sink takes it.

    A norm that the other sink takes is then that of the scaled gradient.
    """

    def __init__(self, sink: GradientSink, factors: Mapping[int, float]) -> None:
        self._sink = sink
        self._factors = factors

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[rows, numel]`` of the tensor that starts at ``offset``."""
        self._sink.add(offset, gradient.float() * self._factors[offset])


class SquaresSink:
    """Sums the squares of each tensor's gradient over rows: ``squares`` by offset, in squared units of the loss."""

    def __init__(self) -> None:
        self.squares: dict[int, float] = {}

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[rows, numel]`` of the tensor that starts at ``offset``."""
        total = gradient.double().square().sum().item()
        self.squares[offset] = self.squares.get(offset, 0.0) + total


def tensor_factors(mean_squares: Mapping[str, float], sizes: Mapping[str, int], settings: Scale) -> dict[str, float]:
    """Return ``s_l = (r_l + f rbar)^(-e / 2)`` of every tensor or, with kind ``module``, of every module's tensors.

    Args:
        mean_squares: ``r_l``, the mean of a squared gradient element of tensor l over samples and timesteps.
        sizes: ``P_l``, the elements of each tensor.
        settings: ``floor`` is f, ``exponent`` e; ``rbar`` is the mean of ``r_l`` over all elements.

    Raises:
        UserError: a value is not finite, no tensor has a gradient, or one has none and the floor is 0.
    """
    for name, value in mean_squares.items():
        if not math.isfinite(value):
            raise UserError(f"The pilot's gradient of '{name}' is not finite; mend the model or the samples.")
    mean = sum(sizes[name] * value for name, value in mean_squares.items()) / sum(sizes.values())
    if mean == 0:
        raise UserError("No parameter had a gradient in the pilot; check gradients.parameters and the model.")
    groups = {name: name.rpartition(".")[0] if settings["kind"] == "module" else name for name in sizes}
    weights: dict[str, int] = {}
    squares: dict[str, float] = {}
    for name, group in groups.items():
        weights[group] = weights.get(group, 0) + sizes[name]
        squares[group] = squares.get(group, 0.0) + sizes[name] * mean_squares[name]
    floor, power = settings["floor"] * mean, -settings["exponent"] / 2
    factors = {}
    for name, group in groups.items():
        level = squares[group] / weights[group] + floor
        if level == 0:
            raise UserError(
                f"Tensor '{name}' had no gradient in the pilot, and gradients.scale.floor is 0; set it to 0.1."
            )
        factors[name] = level**power
    return factors
