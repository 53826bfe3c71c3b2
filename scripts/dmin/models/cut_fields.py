"""The regions that influence maps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch

from dmin.models.encoded import EncodedSamples
from dmin.models.regions import Regions, grid_masks
from dmin.models.sealed_tensors import SealedTensors
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet


class FieldSettings(TypedDict):
    """Which images are cut, and into how many fields in a row and in a column."""

    queries: int | list[str]
    top_k: int
    grid: int


@dataclass(frozen=True)
class FieldFiles:
    """Where regions are written: fields of queries, fields of the samples ranked first for each, and whole queries."""

    query_fields: Path
    sample_fields: Path
    layers: Path


def cut_fields(config: FieldSettings, queries: Path, top: Path, out: FieldFiles) -> None:
    """Write the fields of some queries and of the first samples of their ranked lists, and whole queries.

    A region's id is ``IMAGE#row,column``, that of a whole image ``IMAGE#``. Queries are evenly spread over all, or
    those that are listed.

    Args:
        queries: encoded queries.
        top: ranked lists.

    Raises:
        UserError: the grid is finer than the latents, or a query is unknown.
    """
    with SealedTensors(queries, "File of encoded samples") as file:
        known = list(file.facts["ids"])
    asked = choose_queries(config["queries"], known)
    cells = EncodedSamples.load(queries, 0, 1).latents.shape[2:]
    fields = list(grid_masks(config["grid"], *cells))
    table = read_parquet(top)
    first = table[table["rank"] <= config["top_k"]].sort_values("rank", kind="stable")
    lists = dict(iter(first.groupby("query_id")["sample_id"]))
    samples = [sample for query in asked for sample in lists[query].tolist()]
    _regions(asked, fields).save(out.query_fields)
    _regions(samples, fields).save(out.sample_fields)
    _regions(asked, [("", torch.ones(cells))]).save(out.layers)


def choose_queries(wanted: int | Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the queries that are listed, or so many of those that there are, evenly spread.

    Raises:
        UserError: one that is listed is unknown.
    """
    if isinstance(wanted, int):
        count = min(wanted, len(known))
        return [known[place * len(known) // count] for place in range(count)]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"maps.queries has '{unknown[0]}', which is not among the run's queries; correct the id.")
    return list(wanted)


def _regions(images: Sequence[str], fields: Sequence[tuple[str, torch.Tensor]]) -> Regions:
    ids = [f"{image}#{name}" for image in images for name, _ in fields]
    masks = torch.stack([mask for _, mask in fields])
    return Regions(ids, [image for image in images for _ in fields], masks.repeat(len(images), 1, 1))
