"""Exact per-sample gradients of a module without a rule: run it again, one sample at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from dmin.gradients.layers.product import widen

_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
_HALF_TOLERANCE = 5e-2


class SampleMixingError(Exception):
    """A sample run alone gives another output than in the batch, so its own gradient does not exist."""


class ModuleCall:
    """One recorded call of a module, from which the per-sample gradients of its own parameters can be recomputed."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, device: str):
        self._module = module
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] = (args, kwargs)
        self._outputs = [_frozen(leaf) for leaf in _tensors(output)]
        self._device = device
        self._autocast = torch.is_autocast_enabled(device)
        self._autocast_dtype = torch.get_autocast_dtype(device)

    def gradients(self, names: Collection[str], upstream: list[Tensor | None], batch: int) -> dict[str, Tensor]:
        """Return ``{local name: [B, numel]}``.

        ``upstream``: loss gradient of every floating output tensor, in the order of the recorded output, None where
        the loss does not depend on it.

        Raises:
            SampleMixingError: the module's output for a sample depends on the rest of the batch, or on chance.
        """
        parameters = {name: self._module.get_parameter(name).detach().requires_grad_() for name in names}
        first = next(iter(parameters.values()))
        rows = {
            name: torch.zeros(batch, p.numel(), device=p.device, dtype=widen(first[:0]).dtype)
            for name, p in parameters.items()
        }
        for row in range(batch):
            args, kwargs = pytree.tree_map(lambda leaf, row=row: _slice(leaf, row, batch), self._inputs)
            with torch.enable_grad(), torch.autocast(self._device, self._autocast_dtype, enabled=self._autocast):
                output = functional_call(self._module, parameters, args, kwargs, tie_weights=False)
            outputs = _tensors(output)
            self._compare(outputs, row)
            pairs = [
                (value, gradient[row : row + 1])
                for value, gradient in zip(outputs, upstream, strict=True)
                if gradient is not None and value.requires_grad
            ]
            if not pairs:
                continue
            values, seeds = zip(*pairs, strict=True)
            found = torch.autograd.grad(values, list(parameters.values()), seeds, allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    rows[name][row] = gradient.to_dense().reshape(-1)
        return rows

    def release(self) -> None:
        """Let go of the recorded tensors."""
        self._inputs, self._outputs = ((), {}), []

    def _compare(self, outputs: list[Tensor], row: int) -> None:
        for alone, (together, version) in zip(outputs, self._outputs, strict=True):
            if together._version != version:
                continue
            expected = together[row : row + 1]
            if alone.shape != expected.shape:
                raise SampleMixingError
            tolerance = _TOLERANCE.get(expected.dtype, _HALF_TOLERANCE)
            difference = torch.linalg.vector_norm(widen(alone.detach() - expected))
            if bool(difference > tolerance * torch.linalg.vector_norm(widen(expected)) + tolerance**2):
                raise SampleMixingError


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _frozen(leaf: Tensor) -> tuple[Tensor, int]:
    detached = leaf.detach()
    return detached, detached._version


def _slice(leaf: Any, row: int, batch: int) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    leaf = leaf.detach()
    return leaf[row : row + 1] if leaf.dim() and leaf.shape[0] == batch else leaf
