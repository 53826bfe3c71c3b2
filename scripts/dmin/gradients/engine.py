"""Per-sample gradients at the cost of one batched backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from dmin.gradients.capture import Capture, GradientSink, Watch
from dmin.gradients.coverage import CoverageRow, report_coverage
from dmin.gradients.layers.workspace import Workspace
from dmin.gradients.sites import plan_sites


class PerSampleGradients:
    """Computes d loss_b / d theta for every row b of a batch in one forward and backward pass.

    The selected parameters stay out of the autograd graph during a capture, so the batched weight gradient that a
    plain backward would build is replaced by, not added to, the per-sample one. One row is one (sample, timestep);
    rows mix freely, provided that the model treats them independently (eval mode). A tensor must be used through the
    forward of the module that owns it: a use by another module's code is not seen.

    Source: DMin, per-sample gradients; computed here by hooks instead of one sample at a time.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]):
        """Plan the path of every tensor and make the selected parameters the only ones that require a gradient.

        Raises:
            ValueError: ``parameters`` is empty or holds a tensor that is not the model's own.
        """
        own = dict(model.named_parameters())
        foreign = [name for name, parameter in parameters.items() if own.get(name) is not parameter]
        if foreign or not parameters:
            raise ValueError(f"not parameters of the model: {foreign}" if foreign else "no parameters given")
        self._parameters = {name: own[name] for name in own if name in parameters}
        model.requires_grad_(False)
        self._require_gradients(True)
        self._sites = plan_sites(model, self._parameters)
        self._workspace = Workspace()
        offsets: dict[str, int] = {}
        position = 0
        for name, parameter in self._parameters.items():
            offsets[name] = position
            position += parameter.numel()
        self._offsets = offsets
        self._parameter_count = position

    @property
    def parameter_count(self) -> int:
        """Length P of the flat gradient."""
        return self._parameter_count

    @property
    def offsets(self) -> dict[str, int]:
        """Start of every tensor in the flat gradient, in ``named_parameters()`` order, each tensor flattened."""
        return dict(self._offsets)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every tensor, in the order of the flat gradient."""
        return {name: parameter.numel() for name, parameter in self._parameters.items()}

    @property
    def coverage(self) -> tuple[CoverageRow, ...]:
        """What share of P each gradient path carries."""
        return report_coverage(self._sites, self.sizes)

    @contextmanager
    def capture(self, batch_size: int, sink: GradientSink, watch: Watch | None = None) -> Iterator[None]:
        """Feed ``sink`` from the one forward and one backward pass made inside the ``with`` block.

        The loss must be a sum over ``batch_size`` rows, each a function of its own row. A constant factor on the loss
        scales every gradient by it. Gradients of tensors that modules share or use repeatedly are summed first, so
        the sink receives each tensor exactly once. ``.grad`` of the parameters is left alone. ``watch`` is shown
        what the gradients are made of, before they are.

        Raises:
            UserError: a selected tensor got no gradient, a module mixes rows or its first axis is not the batch, or
                an input was overwritten in place before backward.
        """
        capture = Capture(self._sites, self._offsets, batch_size, sink, self._workspace, watch)
        self._require_gradients(False)
        capture.open()
        try:
            yield
            capture.finish()
        except BaseException:
            # After running out of memory, a retry with fewer rows must not find the larger buffer still held.
            self._workspace = Workspace()
            raise
        finally:
            capture.close()
            self._require_gradients(True)

    def _require_gradients(self, required: bool) -> None:
        for parameter in self._parameters.values():
            parameter.requires_grad_(required)
