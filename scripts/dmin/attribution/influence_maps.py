"""Scores split into parts: regions of the loss, timesteps and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.held_rows import HeldRows
from dmin.attribution.registry import Method, find_method
from dmin.gradients.shard import open_shards, require_equal_metadata, shards_digest
from dmin.runtime.atomic import write_parquet
from dmin.runtime.digests import sha256
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.provenance import provenance
from dmin.settings.runs import Options

COLUMNS = ("query_id", "sample_id", "kind", "part", "score")


@dataclass(frozen=True)
class PartFiles:
    """The shards of parts: fields of queries, whole queries by layers, and fields of training samples or none."""

    query_fields: Sequence[Path]
    layers: Sequence[Path]
    sample_fields: Sequence[Path]


@dataclass(frozen=True)
class Parts:
    """Gradients of parts: ``rows [N, T, width]`` float32 in units of the norm of the whole that each is a part of.

    ``names`` are those of the parts, ``owners`` the places of their wholes among those that have maps.
    """

    names: list[str]
    owners: np.ndarray
    rows: np.ndarray

    def held(self, wholes: HeldRows) -> HeldRows:
        """Return them as rows of a cache, with the norms of their wholes."""
        ids = [f"{wholes.ids[owner]}#{name}" for owner, name in zip(self.owners, self.names, strict=True)]
        return HeldRows(ids, wholes.metadata, self.rows, wholes.norms[self.owners])


@dataclass(frozen=True)
class MappedLists:
    """Ranked lists, and how many samples of each query's have maps."""

    top: Path
    k: int

    def read(self, queries: Sequence[str]) -> dict[str, list[str]]:
        """Return the first samples of each query's list, in order."""
        table = read_parquet(self.top)
        first = table[table["rank"] <= self.k].sort_values("rank", kind="stable")
        lists = dict(iter(first.groupby("query_id")["sample_id"]))
        return {query: lists[query].tolist() for query in queries}


def split_fields(shards: Sequence[Path], wholes: HeldRows) -> Parts:
    """Read the fields of the regions that ``wholes`` are cut into, as many of each, in the order of ``wholes``.

    Raises:
        UserError: a shard is torn or made under other settings, or the fields are those of others.
    """
    opened = open_shards(shards)
    _require_parts_of(wholes.metadata, opened[0].metadata, shards[0])
    unit, norm = (np.concatenate([shard.read(name) for shard in opened]) for name in ("sketch", "norm"))
    origins, names = zip(*(name.rpartition("#")[::2] for shard in opened for name in shard.ids), strict=True)
    each = len(names) // len(wholes.ids)
    owners = np.repeat(np.arange(len(wholes.ids)), each)
    if list(origins) != [wholes.ids[owner] for owner in owners.tolist()]:
        raise UserError(f"'{shards[0]}' holds regions of other images than the ranked lists; delete it and run again.")
    return Parts(list(names), owners, _in_units(unit, norm, wholes.norms[owners]))


def split_layers(shards: Sequence[Path], wholes: HeldRows) -> Parts:
    """Read the groups of layers of every whole.

    Raises:
        UserError: as :func:`split_fields`.
    """
    opened = open_shards(shards)
    _require_parts_of(wholes.metadata, opened[0].metadata, shards[0])
    if [name.rpartition("#")[0] for shard in opened for name in shard.ids] != list(wholes.ids):
        raise UserError(f"'{shards[0]}' holds layers of other images than the ranked lists; delete it and run again.")
    unit, norm = (np.concatenate([shard.read(name) for shard in opened]) for name in ("sketch", "norm"))
    # [N, T, layers, width] with the layers of a whole beside each other.
    unit, norm = unit.swapaxes(1, 2), norm.swapaxes(1, 2)
    count, groups = unit.shape[:2]
    owners = np.repeat(np.arange(count), groups)
    unit, norm = unit.reshape(count * groups, *unit.shape[2:]), norm.reshape(count * groups, -1)
    return Parts(opened[0].metadata["layers"] * count, owners, _in_units(unit, norm, wholes.norms[owners]))


def split_timesteps(wholes: HeldRows) -> Parts:
    """Return a part for every timestep, in which the gradients of all others are zero."""
    timesteps = wholes.metadata["timesteps"]
    count, steps = wholes.shape
    rows = np.zeros((count * steps, *wholes.rows.shape[1:]), dtype=np.float32)
    place = np.arange(count * steps)
    rows[place, place % steps] = wholes.rows.reshape(count * steps, -1)
    return Parts([str(timestep) for timestep in timesteps] * count, place // steps, rows)


def _in_units(unit: np.ndarray, norm: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return parts, unit gradients with their own norms, in units of the norms of their wholes; 0 where that is 0."""
    share = np.divide(norm, whole, out=np.zeros_like(norm), where=whole != 0)
    rows: np.ndarray = unit * share[..., None]
    return rows


def _require_parts_of(whole: dict[str, Any], part: dict[str, Any], path: Path) -> None:
    own = {key: value for key, value in part.items() if key not in ("v", "layers")}
    require_equal_metadata(whole, own, "the gradients of whole images", str(path))


def map_influence(
    method: str, sides: GradientSides, parts: PartFiles, lists: MappedLists, options: Options, out: Path
) -> None:
    """Write the parts of scores that ranked lists hold, as a table of ``query_id, sample_id, kind, part, score``.

    Kinds are ``query_region`` and ``sample_region``, whose part is ``row,column`` of the grid, ``timestep``, and
    ``layer``, a group of layers. The parts of one kind sum to the score, in whose units they are: each is the method's
    score of the part's own gradient, in units of the norm of the whole one. A region of a query is set against whole
    training samples, and a region of a training sample against the whole query.

    Raises:
        UserError: a file is torn, or gradients do not belong together.

    Source: ours, of the linearity of influence in the loss.
    """
    chosen = find_method(method)
    queries, train = sides.read()
    asked = [name.rpartition("#")[0] for shard in open_shards(parts.layers) for name in shard.ids]
    ranked, whole = lists.read(asked), HeldRows.taken(queries, asked)
    kinds = {
        "query_region": split_fields(parts.query_fields, whole),
        "timestep": split_timesteps(whole),
        "layer": split_layers(parts.layers, whole),
    }
    rows = _query_rows(chosen, options, kinds, whole, train, ranked)
    if parts.sample_fields:
        samples = [sample for name in asked for sample in ranked[name]]
        trained = HeldRows.taken(train, samples)
        fields = split_fields(parts.sample_fields, trained)
        scores, _ = chosen.run(whole, fields.held(trained), options, {})
        for place, (owner, name) in enumerate(zip(fields.owners, fields.names, strict=True)):
            query = owner // lists.k
            rows.append((asked[query], samples[owner], "sample_region", name, scores[query, place]))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": "float32"})
    digests = {"queries": queries.digest, "train": train.digest, "top": sha256(lists.top)}
    digests |= {name: shards_digest(open_shards(paths)) for name, paths in vars(parts).items() if paths}
    config = {"method": method, "options": options, "top_k": lists.k, "v": train.width}
    write_parquet(table, out, provenance(config, digests))


def _query_rows(
    method: Method,
    options: Options,
    kinds: Mapping[str, Parts],
    whole: HeldRows,
    train: GradientRows,
    ranked: Mapping[str, list[str]],
) -> list[tuple[str, str, str, str, float]]:
    """Return the rows of parts of queries, kind by kind, scored at once because a kernel takes most of the time."""
    every = Parts(
        [name for part in kinds.values() for name in part.names],
        np.concatenate([part.owners for part in kinds.values()]),
        np.concatenate([part.rows for part in kinds.values()]),
    )
    named = [kind for kind, part in kinds.items() for _ in part.names]
    scores, _ = method.run(every.held(whole), train, options, {})
    columns = {name: place for place, name in enumerate(train.ids)}
    return [
        (whole.ids[owner], sample, kind, name, scores[place, columns[sample]])
        for place, (kind, owner, name) in enumerate(zip(named, every.owners, every.names, strict=True))
        for sample in ranked[whole.ids[owner]]
    ]
