"""Per-sample gradients of affine maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, nn

from dmin.gradients.layers.product import per_sample_product, widen
from dmin.gradients.layers.workspace import Workspace


def linear_gradients(
    module: nn.Module, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(local name, [B, numel])`` of an ``nn.Linear``: sum over positions of output gradient times input.

    ``activation [B, ..., I]`` is the recorded input, ``gradient [B, ..., O]`` the loss gradient of the output.
    """
    batch = gradient.shape[0]
    columns = gradient.reshape(batch, -1, gradient.shape[-1])
    if "weight" in wanted:
        rows = activation.reshape(batch, -1, activation.shape[-1])
        yield "weight", per_sample_product(columns, rows, workspace).view(batch, -1)
    if "bias" in wanted:
        yield "bias", widen(columns).sum(1)
