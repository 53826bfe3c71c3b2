"""The files that the benchmark of memory begins from, synthetic, and the places of what its jobs leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_tables import SampleTables
from dmin.data.images import encode_png
from dmin.data.samples import SampleWriter, read_samples
from dmin.gradients.shard import write_shard
from dmin.runtime.provenance import provenance

SIDE, QUERIES = 256, 20
TIMESTEPS, CACHE_DIM, WIDTH, SHARD = [900, 700, 500, 300], 1024, 256, 512
SUBSETS = ["a", "b"]
METADATA = {"cache": "loss", "model": "synthetic", "timesteps": TIMESTEPS, "cache_dim": CACHE_DIM, "P": CACHE_DIM}


class Inputs:
    """The files of one size: every job finds what earlier ones left in ``folder``.

    Args:
        side: pixels of the images.
        prompt: shape of an encoded prompt.
    """

    def __init__(self, folder: Path, side: int = SIDE, prompt: tuple[int, int] = (77, 768)) -> None:
        self.folder, self.side, self.prompt = folder, side, prompt
        self.source, self.fetched = folder / "source.parquet", folder / "fetched.parquet"
        self.train, self.test, self.queries = (folder / f"{name}.parquet" for name in ("train", "test", "queries"))
        self.encoded = folder / "train.safetensors"
        self.tables = SampleTables(self.queries, self.train)
        self.one_query = SampleTables(folder / "query.parquet", self.train)
        self.norms = folder / "norms.csv"

    def scores(self, method: str) -> ScoreFiles:
        """Return the files of a method's scores."""
        folder = self.folder / method / f"v{WIDTH}"
        top = folder / "exact" / "top.parquet"
        return ScoreFiles(folder / "scores.npy", folder / "scores.json", top, folder / "scores.metrics.json")

    def shards(self, split: str) -> list[Path]:
        """Return the gradient shards of a split."""
        return sorted((self.folder / "loss" / split).glob("*.safetensors"))

    def sketch(self, split: str) -> Path:
        """Return the sketch of a split."""
        return self.folder / "sketch" / f"{split}.npy"

    @property
    def tops(self) -> dict[str, Path]:
        """The ranked lists of all methods that were scored."""
        return {method: self.scores(method).top for method in ("dmin", "random")}


def write_inputs(folder: Path, count: int, side: int = SIDE, distinct: bool = False) -> None:
    """Write a source of ``count`` images and the queries.

    Args:
        side: pixels of the images.
        distinct: whether all differ; else 64 of them are repeated, which is faster where only their size matters.
    """
    inputs = Inputs(folder, side)
    generator = np.random.default_rng(0)
    images = [_draw_image(generator, side) for _ in range(64)]
    queries = ((inputs.queries, QUERIES, "query"), (inputs.one_query.queries, 1, "query"))
    for path, rows, name in ((inputs.source, count, "s"), *queries):
        with SampleWriter(path, ("id", "subset", "prompt", "label", "origin", "repeats", "seed", "image")) as writer:
            for row in range(rows):
                subset = SUBSETS[row % 2]
                text = {"prompt": f"a picture of {subset}, number {row}", "label": subset, "origin": f"file {row}"}
                data = _draw_image(generator, side) if distinct else images[row % len(images)]
                image = {"bytes": data, "path": None}
                writer.append({"id": f"{name}/{row}", "subset": subset, **text, "seed": row, "image": image})


def _draw_image(generator: np.random.Generator, side: int) -> bytes:
    """Return a PNG of 8 x 8 random squares with a little noise."""
    squares = generator.integers(0, 240, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
    return encode_png(Image.fromarray((squares + generator.integers(0, 16, squares.shape)).astype(np.uint8)))


def write_shards(inputs: Inputs) -> None:
    """Write random unit gradients of the training samples and the queries as the cache does."""
    generator, made = np.random.default_rng(1), provenance({}, {})
    for split, table in (("train", inputs.train), ("queries", inputs.queries)):
        ids = read_samples(table, ["id"])["id"].tolist()
        folder = inputs.folder / "loss" / split
        folder.mkdir(parents=True)
        for start in range(0, len(ids), SHARD):
            part = ids[start : start + SHARD]
            rows = generator.normal(size=(len(part), len(TIMESTEPS), CACHE_DIM)) / CACHE_DIM**0.5
            norms = np.ones((len(part), len(TIMESTEPS)), dtype=np.float32)
            tensors = {"sketch": rows.astype(np.float16), "norm": norms}
            write_shard(folder / f"{start:08d}-{start + len(part):08d}.safetensors", part, METADATA, tensors, made)
