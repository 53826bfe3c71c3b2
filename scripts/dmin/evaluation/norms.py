"""Gradient norms by timestep, the reason why DMin normalises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dmin.data.subsets import read_subsets
from dmin.gradients.shard import Shard
from dmin.runtime.atomic import write_csv_parts


def evaluate_norms(shards: Sequence[Path], tables: Sequence[Path], out: Path) -> None:
    """Write the gradient norm of every sample and timestep; columns ``split,sample_id,subset,timestep,norm``."""
    subsets = read_subsets(tables)
    write_csv_parts((_norms(path, subsets) for path in shards), out)


def _norms(path: Path, subsets: Mapping[str, str]) -> pd.DataFrame:
    shard = Shard(path)
    wide = pd.DataFrame(shard.read("norm"), columns=shard.metadata["timesteps"])
    wide.insert(0, "sample_id", shard.ids)
    long = wide.melt("sample_id", var_name="timestep", value_name="norm")
    table = long.assign(split=path.parent.name, subset=long["sample_id"].map(subsets))
    return table[["split", "sample_id", "subset", "timestep", "norm"]]
