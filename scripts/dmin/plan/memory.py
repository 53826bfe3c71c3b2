"""Memory and disk that a run takes, in bytes, from its counts."""

from __future__ import annotations

from dataclasses import dataclass

from dmin.settings.runs import Gradients

# The cache holds halves; computation and HNSW use single precision.
STORED, COMPUTED = 2, 4
_SCORE_BLOCK = 2**27


def cache_bytes(rows: int, timesteps: int, width: int, parameters: int, keep_raw: bool) -> int:
    """Return the bytes of the gradient cache of ``rows`` samples: sketches and kept gradients fp16, norms fp32."""
    return rows * timesteps * (STORED * (width + (parameters if keep_raw else 0)) + COMPUTED)


def part_bytes(rows: int, width: int, single: bool) -> int:
    """Return the bytes of ``rows`` sketches with their norms: fp16, or ``single`` precision, as for influence maps."""
    return rows * ((COMPUTED if single else STORED) * width + COMPUTED)


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


@dataclass(frozen=True)
class Values:
    """What a denoiser holds: bytes of all weights, attributed values (P), values of its largest attributed tensor."""

    weight_bytes: int
    attributed: int
    largest: int


def device_bytes(values: Values, saved: int, gradients: Gradients, batch: int) -> int:
    """Return the memory of a gradient job where it computes, an estimate.

    Weights of the denoiser, the activations kept for backward, per-sample gradients of the largest attributed
    tensor, running sums, kept gradients, and the map.

    Args:
        saved: activation bytes per row in float32; a precision of 16 bits halves them.
        batch: rows that go together.
    """
    width = gradients["cache_dim"]
    rows = saved if gradients["precision"] == "float32" else saved // 2
    kept = values.attributed if gradients["keep_raw"] else 0
    per_row = rows + COMPUTED * (values.largest + width + kept)
    held, _ = map_bytes(values.attributed, width, gradients["sketch_kind"])
    return values.weight_bytes + batch * per_row + held


def gradient_host_bytes(weights: int, encoded: int, drawing: int) -> int:
    """Return the memory of a gradient job on the host, an estimate.

    Args:
        weights: bytes of the denoiser.
        encoded: bytes of the samples and prompts of one shard.
        drawing: peak bytes of drawing the map.
    """
    return weights + encoded + drawing


def scoring_bytes(queries: int, timesteps: int, width: int) -> int:
    """Return the memory of scoring at a width, an estimate: the queries' gradients and two blocks of the samples'."""
    return COMPUTED * queries * timesteps * width + 2 * _SCORE_BLOCK
