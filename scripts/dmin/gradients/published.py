"""Gradients that DMin's authors published, as shards of this project's cache.

``python -m dmin.gradients.published FOLDER --samples train.parquet --model NAME --out SHARDS`` imports a download.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmin.data.samples import read_samples
from dmin.gradients.shard import write_shard
from dmin.gradients.timesteps import timestep_grid
from dmin.runtime.errors import UserError
from dmin.settings.runs import Timesteps

log = logging.getLogger(__name__)

_NAME = re.compile(r"loss_grad_(\d{8})\.pt")
_REDUCER = re.compile(r"DimReducer_D(\d+)\.obj")
# A saved tensor is its values and about 1 KiB around them; more is something else.
_AROUND = 2**16
# What reading a torn file, or one that wants to run code, ends in.
_REFUSED = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError)
# A compressed unit gradient is about one long; a raw one is not.
_LENGTHS = (0.5, 2.0)


@dataclass(frozen=True)
class PublishedGradients:
    """A download: ``K{width}/loss_grad_########.pt``, each one float32 tensor ``[T, width]`` of unit gradients.

    The files are numbered as the training samples. ``DimReducer_D{P}.obj`` and ``noise.pkl`` beside them are pickles,
    which run code when they are read, and are never opened; P is taken from the reducer's name.

    Source: DMin's published gradients of Stable Diffusion 3 medium with a rank-4 adapter (T = 10, width 65,536).
    """

    folder: Path
    width: int
    timesteps: int

    def files(self) -> list[Path]:
        """Return the gradient files in the order of their numbers.

        Raises:
            UserError: there are none, a number is missing, or another file stands among them.
        """
        folder = self.folder / f"K{self.width}"
        if not folder.is_dir():
            raise UserError(f"'{folder}' does not exist; download the gradients there or correct the folder or width.")
        paths = sorted(folder.iterdir())
        for number, path in enumerate(paths):
            match = _NAME.fullmatch(path.name)
            if match is None:
                raise UserError(f"'{path}' is no published gradient (loss_grad_########.pt); move it elsewhere.")
            if int(match[1]) != number:
                raise UserError(f"'{folder / f'loss_grad_{number:08d}.pt'}' is missing; download it.")
        if not paths:
            raise UserError(f"'{folder}' is empty; download the gradients there.")
        return paths

    def read(self, path: Path) -> np.ndarray:
        """Return one sample's compressed unit gradients, float32 ``[T, width]``; no code in the file is run.

        Raises:
            UserError: the file is anything but one finite float32 tensor of that shape with rows of about unit length.
        """
        expected = 4 * self.timesteps * self.width
        try:
            if (size := path.stat().st_size) > expected + _AROUND:
                raise UserError(
                    f"'{path}' has {size} bytes, more than one tensor of {self.timesteps} x {self.width} float32 "
                    "values; correct the width or the number of timesteps, or download it again."
                )
            value = torch.load(path, map_location="cpu", weights_only=True)
        except _REFUSED as error:
            raise UserError(
                f"'{path}' is torn or holds more than a tensor, and is not read; download it again."
            ) from error
        if type(value) is not torch.Tensor or value.dtype != torch.float32 or value.layout != torch.strided:
            kind = f"{value.dtype} tensor" if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(f"'{path}' holds a {kind} and not one float32 tensor; remove it.")
        if value.shape != (self.timesteps, self.width):
            raise UserError(
                f"'{path}' holds a tensor of shape {list(value.shape)} and not {[self.timesteps, self.width]}; correct "
                "the width or the number of timesteps."
            )
        rows: np.ndarray = value.detach().numpy()
        lengths = np.linalg.norm(rows, axis=1)
        if not ((lengths > _LENGTHS[0]) & (lengths < _LENGTHS[1])).all():
            raise UserError(
                f"'{path}' has a gradient of length {lengths[np.argmax(abs(lengths - 1))]:g}, so these are not "
                "compressed unit gradients; they cannot be imported."
            )
        return rows

    def parameters(self) -> int:
        """Return P, the number of attributed values, from the name of the reducer's file.

        Raises:
            UserError: no file or several are named so.
        """
        found = [match[1] for path in self.folder.iterdir() if (match := _REDUCER.fullmatch(path.name))]
        if len(found) != 1:
            raise UserError(
                f"'{self.folder}' has {len(found)} files named DimReducer_D<parameters>.obj, whose name tells the "
                "number of parameters; keep one (it is not opened)."
            )
        return int(found[0])


def import_published(
    published: PublishedGradients, ids: Sequence[str], model: str, out: Path, shard_size: int = 256
) -> list[Path]:
    """Write the published gradients as shards ``{start}-{stop}.safetensors`` in ``out`` and return their paths.

    Sketches become float16, as in the cache. Norms were not published and are NaN, which methods that need them
    refuse. The compression map is the authors' own: the metadata's ``sketch_kind`` is ``published``, so that these
    gradients are compared with gradients of the same download and never with sketches made here. The objective is
    ``reference``: the authors' code regresses Stable Diffusion 3's output on the noise.

    Args:
        ids: sample ids in the order of the files.
        model: name of the model whose gradients they are; it is recorded and compared.

    Raises:
        UserError: numbers of files and ids differ, or a file is refused; it is named.
    """
    paths = published.files()
    if len(paths) != len(ids):
        raise UserError(
            f"'{published.folder}' has {len(paths)} gradients for {len(ids)} samples; give the table of both."
        )
    metadata = published_metadata(published, model)
    shards = []
    for start in range(0, len(paths), shard_size):
        stop = min(start + shard_size, len(paths))
        sketch = np.empty((stop - start, published.timesteps, published.width), np.float16)
        for place, path in enumerate(paths[start:stop]):
            sketch[place] = published.read(path)
        shard = out / f"{start:08d}-{stop:08d}.safetensors"
        norm = np.full(sketch.shape[:2], np.nan, np.float32)
        write_shard(shard, ids[start:stop], metadata, {"sketch": sketch, "norm": norm})
        shards.append(shard)
        log.info("%d of %d published gradients imported", stop, len(paths))
    return shards


def published_metadata(published: PublishedGradients, model: str) -> dict[str, Any]:
    """Return what the published gradients depend on, as far as it was published."""
    grid: Timesteps = {"grid": "dmin_cubic", "count": published.timesteps, "custom": []}
    return {
        "cache": "loss",
        "model": model,
        "base": "published",
        "parameters": "adapter",
        "P": published.parameters(),
        "timesteps": timestep_grid(grid, "stable_diffusion_3"),
        "noise": {"policy": "shared", "seed": None},
        "objective": "reference",
        "precision": "float32",
        "cache_dim": published.width,
        "sketch_kind": "published",
        "sketch_seed": None,
    }


def main(arguments: Sequence[str]) -> int:
    """Import a download from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dmin.gradients.published", description=__doc__)
    parser.add_argument("folder", type=Path, help="the download, with the folder K<width>")
    parser.add_argument(
        "--samples", type=Path, required=True, help="sample table (parquet), rows in the order of the files"
    )
    parser.add_argument("--model", required=True, help="name of the model, recorded in the shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--width", type=int, default=65536)
    parser.add_argument("--timesteps", type=int, default=10)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        published = PublishedGradients(options.folder, options.width, options.timesteps)
        ids = read_samples(options.samples, ["id"])["id"].tolist()
        import_published(published, ids, options.model, options.out)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
