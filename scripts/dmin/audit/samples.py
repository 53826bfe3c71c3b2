"""One row for every training image: what its loss, its gradients, its neighbours and its pixels say of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dmin.attribution.gradient_rows import GradientRows
from dmin.audit import influence
from dmin.audit.caption_margins import Captioned, caption_margins
from dmin.audit.copies import find_copies
from dmin.audit.image_columns import equal_to, read_files, read_images
from dmin.audit.inputs import AuditInputs, SplitInputs
from dmin.audit.loss_columns import caption_columns, loss_levels, own_columns, read_losses
from dmin.audit.neighbourhood import Neighbourhood, feature_blocks, matrix_blocks, neighbourhood
from dmin.data.samples import read_samples
from dmin.games.feature_files import read_features
from dmin.gradients.shard import open_shards
from dmin.runtime.atomic import write_csv
from dmin.runtime.parquet import read_parquet

log = logging.getLogger(__name__)


class SampleSettings(TypedDict):
    """What the table depends on, beside files: neighbours, the penalty of the ridge kernel, and the images' size."""

    k: int
    relative_lambda: float
    size: int


@dataclass(frozen=True)
class _Split:
    """What was read of a split."""

    table: pd.DataFrame
    features: np.ndarray
    losses: pd.DataFrame
    gradients: GradientRows
    similarity: pd.Series | None

    @classmethod
    def read(cls, files: SplitInputs) -> _Split:
        table = read_samples(files.table, ["id", "subset", "prompt"])
        features = read_features(files.features)["features"]
        similarity = None
        if files.similarity is not None:
            similarity = read_parquet(files.similarity).set_index("sample")["caption_similarity"]
        return cls(table, features, read_losses(files.losses), files.gradients.read(), similarity)

    @property
    def subsets(self) -> list[str]:
        return self.table["subset"].tolist()

    @property
    def captioned(self) -> Captioned:
        return Captioned(self.features, [text or "" for text in self.table["prompt"]])


@dataclass(frozen=True)
class _Yardstick:
    """What the images of either split are measured against: the training set and what queries make of it."""

    train: _Split
    queries: GradientRows
    thresholds: np.ndarray
    levels: pd.Series
    k: int

    @property
    def ids(self) -> list[str]:
        return self.train.gradients.ids

    def columns(self, split: _Split, by_influence: Neighbourhood, scores: np.ndarray, same: bool) -> pd.DataFrame:
        """Return the columns that the images of both splits have."""
        asked = influence.asked(scores, self.thresholds, self.train.gradients.shape[1])
        blocks = feature_blocks(split.features, self.train.features)
        by_features = neighbourhood(blocks, split.subsets, self.train.subsets, self.k, same)
        captions = caption_margins(split.captioned, self.train.captioned, same)
        if split.similarity is not None:
            captions["caption_similarity"] = split.similarity.loc[split.table["id"]].to_numpy()
        frames = [
            split.table.rename(columns={"id": "sample"}).reset_index(drop=True),
            _loss_columns(split, self.levels),
            pd.DataFrame(captions, index=range(len(split.table))),
            _asked_columns(asked, self.queries),
            _neighbour_columns("influence", by_influence, self.ids),
            _neighbour_columns("feature", by_features, self.ids),
        ]
        return pd.concat(frames, axis=1)


def audit_samples(inputs: AuditInputs, settings: SampleSettings, samples: Path, held_out: Path) -> None:
    """Write the table of the training images, and the columns of it that held-out images have too.

    Errors, in columns that end in ``_se``, are standard errors. docs/audit.md tells every column.

    Args:
        samples, held_out: CSV files to make; the second has no row where there is no test set.

    Raises:
        UserError: a file is torn, or files were made under different settings.
    """
    train, queries = _Split.read(inputs.train), inputs.queries.read()
    known = influence.train_influence(train.gradients, train.subsets, settings["k"], settings["relative_lambda"])
    scores = influence.query_scores(queries, train.gradients)
    thresholds = influence.kth_scores(scores, settings["k"])
    yardstick = _Yardstick(train, queries, thresholds, loss_levels(train.losses), settings["k"])
    found = yardstick.columns(train, known.near, scores, same=True)
    parts = [found, *_own_columns(inputs, yardstick.ids, settings["size"])]
    parts.append(pd.DataFrame({"leverage": known.leverage}))
    held = pd.DataFrame(columns=["sample", "subset"])
    if inputs.test is not None:
        test = _Split.read(inputs.test)
        against = influence.query_scores(test.gradients, train.gradients)
        parts.append(_held_out_columns(against, known, (test.subsets, train.subsets), settings["relative_lambda"]))
        blocks = matrix_blocks(against / train.gradients.shape[1])
        near = neighbourhood(blocks, test.subsets, train.subsets, settings["k"], same=False)
        held = yardstick.columns(test, near, influence.query_scores(queries, test.gradients), same=False)
    table = pd.concat(parts, axis=1)
    ranks = table.groupby("subset")["loss"].rank(pct=True)
    table.insert(list(table.columns).index("loss_se") + 1, "loss_percentile", ranks)
    write_csv(table, samples)
    write_csv(held, held_out)
    log.info("%d training images, %d held-out ones", len(table), len(held))


def _own_columns(inputs: AuditInputs, ids: Sequence[str], size: int) -> list[pd.DataFrame]:
    """Return the columns of the training images alone that files and norms give."""
    images = read_images(inputs.train.table)
    changed = find_copies(images.thumbnails, images.digests)
    copies = {
        "copies": _listed(equal_to(images.digests), ids),
        "near_copies": _listed(changed.places, ids),
        "copy_similarity": changed.similarity,
    }
    facts = [read_files(inputs.sources, ids, size), images.facts, pd.DataFrame(copies)]
    return [*facts, _norm_columns(inputs.norms, ids)]


def _held_out_columns(
    scores: np.ndarray,
    known: influence.TrainInfluence,
    subsets: tuple[Sequence[str], Sequence[str]],
    relative_lambda: float,
) -> pd.DataFrame:
    done = influence.held_out_influence(scores, known.kernel, relative_lambda, subsets)
    names = ("held_out_influence", "held_out_influence_se", "held_out_images")
    return pd.DataFrame(dict(zip(names, (done.total, done.error, done.images), strict=True)))


def _loss_columns(split: _Split, levels: pd.Series) -> pd.DataFrame:
    own, captions = own_columns(split.losses, levels), caption_columns(split.losses)
    found = own.join(captions) if len(captions) else own
    return found.loc[split.table["id"]].reset_index(drop=True)


def _norm_columns(shards: Mapping[str, Sequence[Path]], ids: Sequence[str]) -> pd.DataFrame:
    """Return self-influence by cache, and the norm of the first over the level of its timestep, less 1."""
    columns: dict[str, np.ndarray] = {}
    for name, paths in shards.items():
        norms = np.concatenate([shard.read("norm") for shard in open_shards(paths)]).astype(np.float64)
        if not columns:
            relative = norms / np.nanmean(norms, axis=0) - 1
            columns["gradient_norm"] = relative.mean(axis=1)
            columns["gradient_norm_se"] = relative.std(axis=1, ddof=1) / np.sqrt(relative.shape[1])
        columns[name] = (norms**2).sum(axis=1)
    return pd.DataFrame(columns, index=range(len(ids)))


def _asked_columns(found: influence.Asked, queries: GradientRows) -> pd.DataFrame:
    count = len(queries.ids)
    share = found.hubs / count
    return pd.DataFrame(
        {
            "hubs": found.hubs,
            "hub_share": share,
            "hub_share_se": np.sqrt(share * (1 - share) / count),
            "closest_query": [queries.ids[place] for place in found.closest],
            "query_score": found.score,
        }
    )


def _neighbour_columns(name: str, near: Neighbourhood, ids: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            f"{name}_neighbours": _listed(near.places.tolist(), ids),
            f"{name}_margin": near.margin,
            f"{name}_distance": 1 - near.own,
        }
    )


def _listed(places: Sequence[Sequence[int]], ids: Sequence[str]) -> list[str]:
    return [" ".join(ids[place] for place in others) for others in places]
