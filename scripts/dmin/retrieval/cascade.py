"""What a search in two stages is built of: a subspace, coordinates in it, and tails of what it leaves out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dmin.models.sealed_tensors import write_tensors
from dmin.retrieval.tails import fit_tails
from dmin.runtime.atomic import write_json
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import PROVENANCE, load_array, provenance
from dmin.runtime.readers import read_json

log = logging.getLogger(__name__)

# Bytes in single precision of the rows that the subspace is taken from, and of those read at once.
_SAMPLE_BYTES, _BLOCK_BYTES = 2**28, 2**25
# Of the randomised singular value decomposition (Halko, Martinsson and Tropp 2011).
_ITERATIONS, _OVERSAMPLING = 2, 16
# Rows that stand in for queries, and rows that they are multiplied with, to learn how residuals are distributed.
_ASKED, _ANSWERED = 256, 8192


@dataclass(frozen=True)
class Subspace:
    """What the coarse stage is: the dimension of its subspace, and the seed of its draws."""

    rank: int
    seed: int


@dataclass(frozen=True)
class CascadeFiles:
    """The files of a cascade: its tensors, the JSON file that describes it, and what building it cost."""

    index: Path
    description: Path
    metrics: Path


def build_cascade(sketch: Path, subspace: Subspace, files: CascadeFiles) -> None:
    """Find the leading subspace of a sketch's rows, their coordinates in it, and the tails of what it leaves out.

    Written are ``basis [D, r]`` with orthonormal columns, ``coarse [N, r]``, the residual norms ``residual [N]``, and
    of :func:`dmin.retrieval.tails.fit_tails` the ``edges`` and ``chances``; ``D = T * v``.

    Args:
        sketch: ``[N, T, v]``, its description beside it.

    Raises:
        UserError: the rank exceeds the rows or their length, or the sketch is torn.
    """
    rows = load_array(sketch, "sketch", "Sketch")
    rows = rows.reshape(len(rows), -1)
    largest = min(rows.shape)
    if subspace.rank > largest:
        raise UserError(
            f"influence.cascade.rank is {subspace.rank}, but '{sketch}' holds {len(rows)} rows of {rows.shape[1]} "
            f"values; choose at most {largest}."
        )
    draws = np.random.default_rng(subspace.seed)
    with Meter() as meter:
        basis = _leading_subspace(rows, subspace.rank, draws)
        coarse, residual = _project(rows, basis)
        edges, chances = fit_tails(_pairs(rows, coarse, residual, draws))
        tensors = {"basis": basis, "coarse": coarse, "residual": residual}
        tensors |= {"edges": torch.from_numpy(edges), "chances": torch.from_numpy(chances)}
        write_tensors(files.index, {"rank": subspace.rank}, tensors)
    facts = read_json(sketch.with_suffix(".json"))
    config = {"rank": subspace.rank, "seed": subspace.seed}
    made_from = facts.get(PROVENANCE, {}).get("sha256", {})
    made = provenance(config, made_from, {"index": files.index})
    write_json({**facts, **config, PROVENANCE: made}, files.description)
    size = files.index.stat().st_size
    meter.write(files.metrics, backend="cascade", samples=len(rows), v=facts["v"], bytes=size)
    log.info("%d rows in %d dimensions, %.1f s, %.1f MiB", len(rows), subspace.rank, meter.seconds, size / 2**20)


def _blocks(rows: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield the rows in single precision, block by block."""
    size = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(rows), size):
        block = np.array(rows[start : start + size])
        yield slice(start, start + len(block)), torch.from_numpy(block).float()


def _leading_subspace(rows: np.ndarray, rank: int, draws: np.random.Generator) -> torch.Tensor:
    """Return an orthonormal basis ``[D, r]`` of about the leading right singular vectors of a sample of the rows."""
    most = max(2 * rank, _SAMPLE_BYTES // (4 * rows.shape[1]))
    chosen = np.sort(draws.permutation(len(rows))[:most])
    sample = torch.from_numpy(np.array(rows[chosen])).float()
    require_finite(sample)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(draws.integers(2**63)))
        _, _, directions = torch.svd_lowrank(sample, min(rank + _OVERSAMPLING, *sample.shape), niter=_ITERATIONS)
    return directions[:, :rank].contiguous()


def _project(rows: np.ndarray, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coordinates of the rows ``[N, r]``, and the norms ``[N]`` of what the subspace leaves out."""
    coarse = torch.empty((len(rows), basis.shape[1]))
    residual = torch.empty(len(rows))
    for places, block in _blocks(rows):
        coarse[places] = block @ basis
        residual[places] = residual_norms(block, coarse[places])
    require_finite(coarse)
    return coarse, residual


def require_finite(values: torch.Tensor) -> None:
    """Check what was made of a sketch.

    Raises:
        UserError: it is not finite.
    """
    if not torch.isfinite(values).all():
        raise UserError("The sketch has values that are not finite; delete it and run again.")


def residual_norms(vectors: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Return the norm ``[n]`` of each vector ``[n, D]`` outside the subspace, from its coordinates ``[n, r]`` in it."""
    return (vectors.square().sum(1) - coarse.square().sum(1)).clamp(min=0).sqrt()


def _pairs(
    rows: np.ndarray, coarse: torch.Tensor, residual: torch.Tensor, draws: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the coarse and the residual cosines of rows that stand in for queries with other rows."""
    answered = np.sort(draws.permutation(len(rows))[:_ANSWERED])
    asked = np.sort(draws.permutation(len(rows))[:_ASKED])
    vectors = torch.from_numpy(np.array(rows[asked])).float()
    norms = coarse.norm(dim=1)
    for places, block in _blocks(rows[answered]):
        names = answered[places]
        near = coarse[asked] @ coarse[names].T
        left_out = vectors @ block.T - near
        other = torch.from_numpy(asked[:, None] != names[None])
        yield (
            _cosines(near, norms[asked], norms[names])[other].numpy(),
            _cosines(left_out, residual[asked], residual[names])[other].numpy(),
        )


def _cosines(products: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Divide products ``[m, n]`` by the norms ``[m]`` and ``[n]``; where a norm is 0 so is the cosine."""
    scale = left[:, None] * right[None]
    return torch.where(scale > 0, products / scale.clamp(min=1e-30), torch.zeros(()))
