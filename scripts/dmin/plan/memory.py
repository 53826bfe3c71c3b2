"""Memory and disk that a run takes, in bytes, from its counts."""

from __future__ import annotations

# The cache holds halves; computation and HNSW use single precision.
STORED, COMPUTED = 2, 4
_SCORE_BLOCK = 2**27


def cache_bytes(rows: int, timesteps: int, width: int, parameters: int, keep_raw: bool) -> int:
    """Return the bytes of the gradient cache of ``rows`` samples: sketches and kept gradients fp16, norms fp32."""
    return rows * timesteps * (STORED * (width + (parameters if keep_raw else 0)) + COMPUTED)


def index_bytes(rows: int, dimension: int, links: int) -> int:
    """Return the bytes of an HNSW index of ``rows`` vectors, but for the chance of its upper layers.

    hnswlib stores per element the fp32 vector, ``2 M`` links and their count, a label of 8 bytes and the length of its
    upper links; an element reaches layer ``l`` with probability ``M^-l``.
    """
    element = COMPUTED * dimension + COMPUTED * (2 * links + 1) + 8 + 4
    upper = COMPUTED * (links + 1) / (links - 1)
    return 96 + round(rows * (element + upper))


def map_bytes(parameters: int, width: int, kind: str) -> tuple[int, int]:
    """Return the bytes of the compression map while it is used, and at the peak of drawing it.

    The permutation is drawn once on the host, with 8 bytes per value for the permutation and one for its sign beside
    the cells that stay: 2.125 bytes per value, 4.125 for widths above 65,536. ``rolled`` stores nothing per value.
    """
    if kind == "rolled":
        return 0, 0
    cell = 2 if width <= 2**16 else 4
    return round(parameters * (cell + 1 / 8)), parameters * (8 + 1 + 2 * cell)


def device_bytes(
    total: int, saved: int, batch: int, largest: int, width: int, kind: str, parameters: int, keep_raw: bool, half: bool
) -> int:
    """Return the memory of a gradient job where it computes, an estimate.

    Float32 weights of the denoiser, the activations kept for backward, per-sample gradients of the largest attributed
    tensor, running sums, kept gradients, and the map.

    Args:
        total: values of the denoiser.
        saved: activation bytes per row in float32; ``half`` halves them.
        largest: values of the largest attributed tensor.
    """
    rows = saved // 2 if half else saved
    per_row = rows + COMPUTED * (largest + width + (parameters if keep_raw else 0))
    return COMPUTED * total + batch * per_row + map_bytes(parameters, width, kind)[0]


def host_bytes(total: int, encoded: int, drawing: int, index: int, queries: int, timesteps: int, width: int) -> int:
    """Return the memory of the hungriest job on the host, an estimate: the gradient job, the index, or scoring.

    Args:
        encoded: bytes of the samples and prompts of one shard.
        drawing: peak bytes of drawing the map.
        index: bytes of the HNSW index at ``width``, 0 without one.
    """
    gradients = COMPUTED * total + encoded + drawing
    scoring = COMPUTED * queries * timesteps * width + 2 * _SCORE_BLOCK
    return max(gradients, index, scoring)
