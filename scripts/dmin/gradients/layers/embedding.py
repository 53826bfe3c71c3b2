"""Per-sample gradients of lookup tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, nn

from dmin.gradients.layers.product import widen
from dmin.gradients.layers.workspace import Workspace


def embedding_gradients(
    module: nn.Embedding, activation: Tensor, gradient: Tensor, wanted: Collection[str], workspace: Workspace
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``("weight", [B, rows * width])`` of an ``nn.Embedding``: output gradients summed by looked-up row.

    ``activation [B, ...]`` holds row numbers, ``gradient [B, ..., width]`` the loss gradient of the output.
    """
    batch = gradient.shape[0]
    indices = activation.reshape(batch, -1)
    values = widen(gradient.reshape(batch, indices.shape[1], -1))
    if module.padding_idx is not None:
        values = values.masked_fill((indices == module.padding_idx).unsqueeze(2), 0)
    result = workspace.take((batch, module.num_embeddings, module.embedding_dim), values).zero_()
    result.scatter_add_(1, indices.unsqueeze(2).expand_as(values), values)
    yield "weight", result.view(batch, -1)
