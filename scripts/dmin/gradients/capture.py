"""Hooks that turn one backward pass into per-sample gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from dmin.gradients.layers.autograd import ModuleCall, SampleMixingError
from dmin.gradients.layers.workspace import Workspace
from dmin.gradients.sites import Site
from dmin.runtime.errors import UserError


class GradientSink(Protocol):
    """What receives the per-sample gradients during backward."""

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient of one tensor, once per capture, in no particular order.

        ``offset``: start of the tensor in the flat parameter vector. ``gradient [batch, numel]`` in fp32 or fp64,
        overwritten after the call returns.
        """


Watch = Callable[[Site, Tensor, Tensor], None]
"""Is shown the input and the output gradient, each ``[batch, ...]``, of every call of a site that has a rule."""


class Capture:
    """State of one forward and backward pass."""

    def __init__(
        self,
        sites: list[Site],
        offsets: Mapping[str, int],
        batch: int,
        sink: GradientSink,
        workspace: Workspace,
        watch: Watch | None = None,
    ):
        self._sites = sites
        self._offsets = offsets
        self._batch = batch
        self._sink = sink
        self._workspace = workspace
        self._watch = watch
        self._pending: dict[str, int] = dict.fromkeys(offsets, 0)
        self._partial: dict[str, Tensor] = {}
        self._delivered: set[str] = set()
        self._handles: list[RemovableHandle] = []

    def open(self) -> None:
        """Start recording the calls of every planned module."""
        for site in self._sites:
            hook = partial(self._on_forward, site)
            self._handles.append(site.module.register_forward_hook(hook, with_kwargs=True))

    def close(self) -> None:
        """Stop recording."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def finish(self) -> None:
        """Deliver sums that wait for a call which the loss turned out not to depend on, then check completeness.

        Raises:
            UserError: a selected tensor got no gradient.
        """
        for name in list(self._partial):
            self._deliver(name, self._partial.pop(name))
        missing = [name for name in self._offsets if name not in self._delivered]
        if missing:
            raise UserError(
                f"No gradient reached {len(missing)} of {len(self._offsets)} selected tensors, first {missing[0]!r}: "
                "narrow the parameter selection to tensors that the loss depends on."
            )

    def _on_forward(
        self, site: Site, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        # A forward inside backward is a recomputation (checkpointing or the fallback); its first run was recorded.
        if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
            return None
        for name in site.names.values():
            self._pending[name] += 1
        if site.rule is None:
            return self._record_module(site, args, kwargs, output)
        activation = args[0] if args else next(iter(kwargs.values()))
        self._require_rows(site, activation)
        hook = partial(self._on_gradient, site, [(activation, activation._version)])
        if output.requires_grad:
            output.register_hook(hook)
            return None
        return _start_graph(output, hook)

    def _on_gradient(self, site: Site, inputs: list[tuple[Tensor, int]], gradient: Tensor) -> None:
        self._require_rows(site, gradient)
        self._require_unchanged(site, inputs)
        # The graph outlives backward and the graph owns this hook: let go of the activation now, as autograd would.
        activation, _ = inputs.pop()
        if site.rule is None:
            return
        kind = gradient.device.type
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            if self._watch is not None:
                self._watch(site, activation, gradient)
            for local, rows in site.rule(site.module, activation, gradient, site.names, self._workspace):
                self._accumulate(site.names[local], rows)

    def _record_module(self, site: Site, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        leaves, structure = pytree.tree_flatten(output)
        floating = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        for index in floating:
            self._require_rows(site, leaves[index])
        call = ModuleCall(site.module, args, kwargs, output, leaves[floating[0]].device.type)
        inputs = [(leaf, leaf._version) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        taps = []
        for index in floating:
            # A fresh tensor, so that its gradient counts only what lies behind the module.
            leaf = leaves[index]
            tap = leaf.view_as(leaf) if leaf.requires_grad else leaf.detach().requires_grad_()
            taps.append(tap)
            leaves[index] = tap if leaf.requires_grad else tap.clone()
        hook = partial(self._on_module_gradient, site, call, inputs)
        register_multi_grad_hook(taps, lambda gradients: hook(list(gradients)))
        return pytree.tree_unflatten(leaves, structure)

    def _on_module_gradient(
        self, site: Site, call: ModuleCall, inputs: list[tuple[Tensor, int]], gradients: list[Tensor | None]
    ) -> None:
        self._require_unchanged(site, inputs)
        inputs.clear()
        try:
            found = call.gradients(site.names, gradients, self._batch)
        except SampleMixingError:
            raise UserError(
                f"Module {site.label!r} gives a sample another output alone than in a batch, so it has no per-sample "
                "gradient: put the model in eval mode or exclude the module from the parameter selection."
            ) from None
        for local, rows in found.items():
            self._accumulate(site.names[local], rows)
        call.release()

    def _accumulate(self, name: str, rows: Tensor) -> None:
        self._pending[name] -= 1
        total = self._partial.pop(name, None)
        if total is not None:
            rows = total.add_(rows)
        if self._pending[name]:
            self._partial[name] = rows if total is not None else rows.clone()
        else:
            self._deliver(name, rows)

    def _deliver(self, name: str, rows: Tensor) -> None:
        if name in self._delivered:
            raise RuntimeError(f"{name}: second backward pass in one capture")
        self._delivered.add(name)
        self._sink.add(self._offsets[name], rows)

    def _require_rows(self, site: Site, tensor: Tensor) -> None:
        if tensor.dim() == 0 or tensor.shape[0] != self._batch:
            raise UserError(
                f"Module {site.label!r} works on a tensor of shape {tuple(tensor.shape)} whose first axis is not the "
                f"batch of {self._batch}: exclude it from the parameter selection."
            )

    def _require_unchanged(self, site: Site, inputs: list[tuple[Tensor, int]]) -> None:
        if any(tensor._version != version for tensor, version in inputs):
            raise UserError(
                f"The input of module {site.label!r} was overwritten after its call: disable in-place operations in "
                "the model or exclude the module from the parameter selection."
            )


def _start_graph(output: Tensor, hook: Any) -> Tensor:
    leaf = output.detach().requires_grad_()
    leaf.register_hook(hook)
    # Later in-place operations are refused on a leaf, so the model goes on with a copy.
    return leaf.clone()
