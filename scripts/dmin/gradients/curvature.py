"""The second moment of the training gradients, tensor by tensor in a Kronecker-factored eigenbasis, and its inverse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from dmin.gradients.capture import GradientSink
from dmin.models.sealed_tensors import SealedTensors, write_tensors
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError

WHAT = "Curvature"


class CurvatureFit(TypedDict):
    """What a curvature is measured with; see :class:`dmin.settings.pilot.Curvature`."""

    pilot: int
    widest: int


@dataclass(frozen=True)
class Eigenbasis:
    """The bases of a tensor's gradient ``G [O, I]``: orthogonal ``left [O, O]`` and ``right [I, I]``, one a column.

    A side without a basis stays as it is. In these bases, ``left^T G right``, the second moment of gradients is taken
    for diagonal, which it is where activations and output gradients are independent.
    """

    left: Tensor | None = None
    right: Tensor | None = None

    def rotate(self, gradient: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the gradients ``[rows, O * I]`` in these bases, ``[rows, O, I]``."""
        turned = gradient.unflatten(1, shape)
        if self.left is not None:
            turned = self.left.mT @ turned.to(self.left.dtype)
        return turned if self.right is None else turned.to(self.right.dtype) @ self.right

    def restore(self, turned: Tensor) -> Tensor:
        """Return gradients ``[rows, O, I]`` in these bases as they were, ``[rows, O * I]``."""
        gradient = turned if self.left is None else self.left @ turned
        return (gradient if self.right is None else gradient @ self.right.mT).flatten(1)

    def to(self, device: torch.device) -> Eigenbasis:
        """Return the bases on a device."""
        left, right = (None if side is None else side.to(device) for side in (self.left, self.right))
        return Eigenbasis(left, right)

    def tensors(self) -> dict[str, Tensor]:
        """Return the bases that there are, by side."""
        return {name: side for name, side in (("left", self.left), ("right", self.right)) if side is not None}


@dataclass(frozen=True)
class TensorCurvature:
    """The second moment ``Q diag(values) Q^T`` of a tensor's gradients, ``Q`` the product of the two bases.

    Attributes:
        basis: of both sides.
        values: the mean squared gradient in this basis, ``[O, I]``, in squared units of the loss; ``[1, numel]`` of a
            tensor that is no matrix.
    """

    basis: Eigenbasis
    values: Tensor

    def solve(self, gradient: Tensor, damping: float) -> Tensor:
        """Return ``(Q diag(values) Q^T + damping I)^-1 g`` of the rows of ``gradient [rows, numel]``."""
        height, width = self.values.shape
        return self.basis.restore(self.basis.rotate(gradient, (height, width)) / (self.values + damping))


class KroneckerCurvature:
    """The curvature of every tensor, by name; ``damping`` is a multiple of the mean over all values.

    Source: EK-FAC, and K-FAC influence.
    """

    def __init__(
        self, tensors: Mapping[str, TensorCurvature], damping: float, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Take the curvature of a model.

        Args:
            facts: what tells this curvature from another.

        Raises:
            UserError: a value is negative or not finite, or all are zero.
        """
        for name, tensor in tensors.items():
            if not bool((torch.isfinite(tensor.values) & (tensor.values >= 0)).all()):
                raise UserError(f"The pilot's gradient of '{name}' is not finite; mend the model or the samples.")
        self.tensors = tensors
        self.relative_damping = damping
        self._facts = facts or {}
        total = math.fsum(float(tensor.values.double().sum()) for tensor in tensors.values())
        self.mean = total / sum(tensor.values.numel() for tensor in tensors.values())
        if self.mean == 0:
            raise UserError("No parameter had a gradient in the pilot; check gradients.parameters and the model.")

    @property
    def damping(self) -> float:
        """What is added to every value, in squared units of the loss."""
        return self.relative_damping * self.mean

    def metadata(self) -> dict[str, Any]:
        """Return what the caches under this curvature have in common, and tell them from those under another."""
        return {**self._facts, "damping": self.relative_damping}

    def at(self, offsets: Mapping[str, int], device: torch.device) -> dict[int, TensorCurvature]:
        """Return the curvature of the tensor that starts at each offset of the flat gradient.

        Raises:
            UserError: the curvature was measured on other parameters.
        """
        if set(offsets) != set(self.tensors):
            odd = min(set(offsets) ^ set(self.tensors))
            raise UserError(f"The curvature and the model differ in the tensor '{odd}'; delete the curvature.")
        return {
            offset: TensorCurvature(tensor.basis.to(device), tensor.values.to(device))
            for offset, tensor in ((offset, self.tensors[name]) for name, offset in offsets.items())
        }

    def save(self, path: Path, settings: CurvatureFit, made: Mapping[str, Any]) -> None:
        """Write it, with what it was measured with and the provenance ``made``."""
        stored: dict[str, Tensor] = {}
        for name, tensor in self.tensors.items():
            stored |= {f"{name}/{part}": value for part, value in tensor.basis.tensors().items()}
            stored[f"{name}/values"] = tensor.values
        facts = {"curvature": settings, "tensors": list(self.tensors), **made}
        write_tensors(path, facts, {name: value.cpu() for name, value in stored.items()})

    @classmethod
    def load(cls, path: Path, damping: float) -> KroneckerCurvature:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is torn or foreign.
        """
        with SealedTensors(path, WHAT) as file:
            stored = {name: file.tensor(name) for name in file.names}
            tensors = {}
            for name in file.facts["tensors"]:
                basis = Eigenbasis(stored.get(f"{name}/left"), stored.get(f"{name}/right"))
                values = stored[f"{name}/values"]
                for side, size in zip((basis.left, basis.right), values.shape, strict=True):
                    if side is not None and side.shape != (size, size):
                        raise ValueError(f"the bases of '{name}' are of another shape than its values")
                tensors[name] = TensorCurvature(basis, values)
            facts = {**file.facts["curvature"], "file": file_digest(path)}
        return cls(tensors, damping, facts)


class SolvedSink:
    """Multiplies the gradient of each tensor by the inverse of its damped curvature before another sink takes it.

    A norm that the other sink takes is then that of the product.
    """

    def __init__(self, sink: GradientSink, tensors: Mapping[int, TensorCurvature], damping: float) -> None:
        self._sink = sink
        self._tensors = tensors
        self._damping = damping

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[rows, numel]`` of the tensor that starts at ``offset``."""
        self._sink.add(offset, self._tensors[offset].solve(gradient, self._damping))
