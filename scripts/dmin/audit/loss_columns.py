"""The losses of images as columns: by timestep, without the timestep's own level, and under other captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dmin.runtime.parquet import read_parquet


def read_losses(path: Path) -> pd.DataFrame:
    """Read what :func:`dmin.audit.losses.measure_sample_losses` wrote.

    Raises:
        UserError: the file is torn.
    """
    return read_parquet(path, columns=["sample", "caption_of", "timestep", "draw", "loss"])


def loss_levels(losses: pd.DataFrame) -> pd.Series:
    """Return the mean loss of the samples under their own captions, by timestep and draw."""
    own = losses[losses["caption_of"] == ""]
    levels: pd.Series = own.groupby(["timestep", "draw"])["loss"].mean()
    return levels


def own_columns(losses: pd.DataFrame, levels: pd.Series) -> pd.DataFrame:
    """Return what each sample's losses under its own caption say, by sample.

    ``loss_{t}`` and ``loss_{t}_se`` are the mean over noises at a timestep and its standard error; ``loss`` and
    ``loss_se`` the same over all timesteps, each loss over the level of its timestep and noise, less 1: 0 is that of
    the training images on average, and .1 a tenth above it. Errors are empty where there is one noise.
    """
    own = losses[losses["caption_of"] == ""]
    columns: dict[str, pd.Series] = {}
    by_step = own.groupby(["sample", "timestep"])["loss"]
    for kind, table in (("", by_step.mean().unstack()), ("_se", by_step.sem().unstack())):
        columns |= {f"loss_{step}{kind}": table[step] for step in sorted(table.columns, reverse=True)}
    found = pd.DataFrame({name: columns[name] for name in sorted(columns, key=_by_step)})
    relative = own.assign(loss=own["loss"] / _level(own, levels) - 1).groupby(["sample", "timestep"])["loss"]
    means, errors = relative.mean().unstack(), relative.sem().unstack()
    found["loss"] = means.mean(axis=1)
    found["loss_se"] = np.sqrt((errors**2).sum(axis=1, min_count=errors.shape[1])) / errors.shape[1]
    return found


def caption_columns(losses: pd.DataFrame) -> pd.DataFrame:
    """Return how much a sample's loss is above that under other captions, by sample; empty without any.

    ``caption_gap`` is the mean over other captions of the logarithm of the ratio of both losses under one noise, at the
    timestep with the most of it: .1 where the loss is a tenth higher under its own caption. ``caption_gap_se`` is its
    standard error over captions, ``better_caption`` the image whose caption fits best.
    """
    others = losses[losses["caption_of"] != ""]
    if others.empty:
        return pd.DataFrame(columns=["caption_gap", "caption_gap_se", "better_caption"])
    others = others[others["timestep"] == others["timestep"].max()]
    keys = ["sample", "timestep", "draw"]
    own = losses[losses["caption_of"] == ""].set_index(keys)["loss"]
    ratio = own.reindex(pd.MultiIndex.from_frame(others[keys])).to_numpy() / others["loss"].to_numpy()
    gaps = others.assign(gap=np.log(ratio))
    by_caption = gaps.groupby(["sample", "caption_of"])["gap"].mean().reset_index()
    best = by_caption.loc[by_caption.groupby("sample")["gap"].idxmax()].set_index("sample")["caption_of"]
    by_sample = gaps.groupby("sample")["gap"]
    return pd.DataFrame({"caption_gap": by_sample.mean(), "caption_gap_se": by_sample.sem(), "better_caption": best})


def _level(losses: pd.DataFrame, levels: pd.Series) -> np.ndarray:
    values: np.ndarray = levels.reindex(pd.MultiIndex.from_frame(losses[["timestep", "draw"]])).to_numpy()
    return values


def _by_step(name: str) -> tuple[int, str]:
    _, step, *error = name.split("_")
    return -int(step), "".join(error)
