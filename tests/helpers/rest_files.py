"""One file of every kind of result, small, with what a later step reads of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fabricated import compress_shards, write_gradients
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from tiny_pipeline import random_samples

from dmin.attribution.outputs import Scored, ScoreFiles, write_scores
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.data.images import encode_png
from dmin.data.samples import iter_samples, read_samples, write_samples
from dmin.figures.style import save_figure
from dmin.gradients.shard import Shard
from dmin.models.encoded import EncodedSamples
from dmin.models.queries.trajectory import Trajectory
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.retrieval.search import IndexSearch
from dmin.runtime.atomic import atomic_path, write_csv, write_json, write_parquet
from dmin.runtime.digests import are_described, describe_weights
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.parquet import read_parquet
from dmin.runtime.provenance import load_array
from dmin.runtime.readers import read_csv, read_json

TRAIN, QUERIES = [f"red/{n}" for n in range(40)], [f"query/red/000{n}" for n in range(4)]


@dataclass(frozen=True)
class Kind:
    """A kind of file: what makes one in a folder and returns its path, and what a later step reads of it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    # The file that is damaged, where it is not the one that is read.
    damaged: Callable[[Path], Path] = lambda path: path


def _images(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 3), dtype=np.uint8)
    cells = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    ids = [f"red/{n}" for n in range(len(cells))]
    frame = pd.DataFrame({"id": ids, "subset": "red", "prompt": "a red one", "seed": range(len(ids)), "image": cells})
    write_samples(frame, folder / "train.parquet")
    return folder / "train.parquet"


def _ranked(folder: Path) -> Path:
    rows = [(query, rank + 1, name, 1.0 / (rank + 1)) for query in QUERIES for rank, name in enumerate(TRAIN)]
    write_parquet(pd.DataFrame(rows, columns=["query_id", "rank", "sample_id", "score"]), folder / "top.parquet")
    return folder / "top.parquet"


def _scores(folder: Path) -> Path:
    values = np.random.default_rng(1).standard_normal((len(QUERIES), len(TRAIN))).astype(np.float32)
    scored = Scored("dmin", values, QUERIES, TRAIN, {}, {}, {})
    files = ScoreFiles(*(folder / name for name in ("scores.npy", "scores.json", "top.parquet", "scores.metrics.json")))
    with Meter() as meter:
        pass
    write_scores(scored, dict.fromkeys([*TRAIN, *QUERIES], "red"), 5, files, meter)
    return files.scores


def _sketch(folder: Path) -> Path:
    gradients = np.random.default_rng(0).standard_normal((40, 3, 64)).astype(np.float32)
    return compress_shards([write_gradients(folder / "a.safetensors", TRAIN, gradients)], 16, folder / "train.npy")


def _index(folder: Path) -> Path:
    index = folder / "index.hnsw"
    build_index(
        _sketch(folder), Construction(4, 20, 1), IndexFiles(index, index.with_suffix(".json"), folder / "m.json")
    )
    return index


def _searched(index: Path) -> tuple[Any, ...]:
    search = IndexSearch(index, index.with_name("train.npy"))
    return search.train, search.asked, search.run(10, 5).labels.tolist()


def _encoded(folder: Path) -> Path:
    random_samples(150).save(folder / "train.safetensors", truncated=3)
    return folder / "train.safetensors"


def _read_encoded(path: Path) -> list[Any]:
    whole, part = EncodedSamples.load(path), EncodedSamples.load(path, 70, 100)
    read = [(list(found.ids), found.latents.tolist()) for found in (whole, part)]
    conditioning = [found.conditioning["prompt_embeds"].tolist() for found in (whole, part)]
    return [read, conditioning, whole.unconditional["prompt_embeds"].tolist()]


def _trajectory(folder: Path) -> Path:
    clean = torch.randn((4, 3, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    Trajectory(QUERIES, [900, 500, 100], clean).save(folder / "trajectory.safetensors")
    return folder / "trajectory.safetensors"


def _read_trajectory(path: Path) -> tuple[Any, ...]:
    found = Trajectory.load(path, QUERIES)
    return found.timesteps, found.clean.tolist()


def _shard(folder: Path) -> Path:
    gradients = np.random.default_rng(0).standard_normal((9, 3, 64)).astype(np.float32)
    return write_gradients(folder / "00000000-00000009.safetensors", TRAIN[:9], gradients)


def _read_shard(path: Path) -> tuple[Any, ...]:
    shard = Shard(path)
    return shard.ids, shard.metadata, *(shard.read(name).tolist() for name in ("sketch", "norm", "raw"))


def _adapter(folder: Path) -> Path:
    weights = folder / "pytorch_lora_weights.safetensors"
    save_file({"a": torch.arange(60.0)}, weights)
    write_json({**describe_weights(weights), "parameters": 60}, folder / "model.json")
    return weights


def _read_weights(weights: Path) -> Any:
    facts = read_json(weights.with_name("model.json"))
    if not are_described(weights, facts):
        raise UserError("torn")
    return facts


def _table(folder: Path) -> Path:
    write_csv(pd.DataFrame({"method": ["dmin", "trak"] * 20, "rate": np.linspace(0, 1, 40)}), folder / "rates.csv")
    return folder / "rates.csv"


def _figure(form: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().plot([1, 3, 2])
        save_figure(figure, [folder / f"rates.{form}"], 40)
        return folder / f"rates.{form}"

    return make


def _page(folder: Path) -> Path:
    with atomic_path(folder / "explorer.html") as temporary:
        temporary.write_text("<!DOCTYPE html><title>explorer</title>" + "<p>a red one</p>" * 40)
    return folder / "explorer.html"


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def unread(path: Path) -> bytes:
    return path.read_bytes()


def _frame(path: Path) -> Any:
    return read_parquet(path).to_dict("records")


def _samples(path: Path) -> Any:
    return read_samples(path).to_dict("records"), list(iter_samples(path)), read_samples(path, ["id"])["id"].tolist()


def _matrix(path: Path) -> Any:
    matrix = ScoreMatrix.read(path)
    return matrix.queries, matrix.train, matrix.values.tolist()


KINDS = {
    "samples": Kind(_images, _samples),
    "ranked": Kind(_ranked, _frame),
    "scores": Kind(_scores, _matrix),
    "score ids": Kind(_scores, _matrix, _beside),
    "sketch": Kind(_sketch, lambda path: load_array(path, "sketch", "Sketch").tolist()),
    "index": Kind(_index, _searched),
    "index ids": Kind(_index, _searched, _beside),
    "sketch ids": Kind(_index, _searched, lambda path: path.with_name("train.json")),
    "encoded": Kind(_encoded, _read_encoded),
    "trajectory": Kind(_trajectory, _read_trajectory),
    "shard": Kind(_shard, _read_shard),
    "weights": Kind(_adapter, _read_weights),
    "model": Kind(_adapter, _read_weights, lambda path: path.with_name("model.json")),
    "table": Kind(_table, lambda path: read_csv(path).to_dict("list")),
    "svg": Kind(_figure("svg"), unread),
    "png": Kind(_figure("png"), unread),
    "page": Kind(_page, unread),
}
