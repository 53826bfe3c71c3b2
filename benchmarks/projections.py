"""DMin under other random projections: the sketch beside a fast Johnson-Lindenstrauss map and a dense Gaussian one.

    python benchmarks/projections.py RESULTS/runs/example RESULTS/datasets/example/train.parquet

The run keeps its uncompressed gradients (``keep_raw``). Every map reads the same unit gradients in single precision and
keeps the same bytes; only the map differs. Source of the question: public reviews of DMin.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.ranking import rank_top
from dmin.data.subsets import read_subsets
from dmin.evaluation.compression import rank_correlation
from dmin.evaluation.detection import hits_at
from dmin.evaluation.retrieval_table import recall_at
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind
from dmin.runtime.atomic import write_csv
from dmin.runtime.meter import hardware_label

WIDTHS = (256, 1024, 4096)
SEED = 42
_DETECTED, _RECALLED = (5, 50), 100
Project = Callable[[torch.Tensor], torch.Tensor]


def hadamard(rows: torch.Tensor) -> torch.Tensor:
    """Return the orthonormal Walsh-Hadamard transform of rows ``[n, P]``; P is a power of two."""
    count, size = rows.shape
    half = 1
    while half < size:
        pairs = rows.view(count, -1, 2, half)
        rows = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], dim=2)
        half *= 2
    return rows.reshape(count, size) / size**0.5


def fast_jl(parameters: int, v: int) -> tuple[Project, int]:
    """Return a subsampled randomised Hadamard map to ``v`` values, and the bytes that it keeps.

    Source: Ailon and Chazelle 2009, in the form with uniformly drawn rows.
    """
    size = 1 << (parameters - 1).bit_length()
    generator = torch.Generator().manual_seed(SEED)
    signs = (torch.randint(0, 2, (parameters,), generator=generator) * 2 - 1).float()
    drawn = torch.randperm(size, generator=generator)[:v]

    def project(rows: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(rows * signs, (0, size - parameters))
        return hadamard(padded)[:, drawn] * (size / v) ** 0.5

    return project, parameters // 8 + 4 * v


def gaussian(parameters: int, v: int) -> tuple[Project, int]:
    """Return a dense Gaussian map to ``v`` values, and the bytes that it keeps."""
    matrix = torch.randn(parameters, v, generator=torch.Generator().manual_seed(SEED)) / v**0.5
    return lambda rows: rows @ matrix, 4 * parameters * v


def count_sketch(parameters: int, v: int, kind: SketchKind) -> tuple[Project, int]:
    """Return DMin's map to ``v`` values, and the bytes that it keeps."""
    sketch = CountSketch(parameters, v, SEED, "cpu", kind)
    return sketch.apply, _tensor_bytes(sketch)


def _tensor_bytes(holder: object) -> int:
    found = 0
    for value in vars(holder).values():
        if isinstance(value, torch.Tensor):
            found += value.numel() * value.element_size()
        elif hasattr(value, "__dict__"):
            found += _tensor_bytes(value)
    return found


def projections(parameters: int) -> Iterator[tuple[str, int, Project, int]]:
    """Yield the name, width, map and bytes of every projection, one at a time since the Gaussian is large."""
    for v in WIDTHS:
        yield "permutation", v, *count_sketch(parameters, v, "permutation")
        yield "rolled", v, *count_sketch(parameters, v, "rolled")
        yield "fast_jl", v, *fast_jl(parameters, v)
        yield "gaussian", v, *gaussian(parameters, v)


def score(queries: GradientRows, train: GradientRows, project: Project) -> tuple[np.ndarray, float]:
    """Return DMin's scores under a map, float32 ``[queries, train]``, and the seconds that mapping a gradient took."""
    left = _mapped(queries.all(), project)[0].flatten(1)
    out, seconds, mapped = np.empty((len(left), len(train.ids)), dtype=np.float32), 0.0, 0
    for rows, block in train.blocks():
        right, spent = _mapped(block, project)
        out[:, rows] = (left @ right.flatten(1).T).numpy()
        seconds, mapped = seconds + spent, mapped + block.shape[0] * block.shape[1]
    return out, seconds / mapped


def _mapped(block: np.ndarray, project: Project) -> tuple[torch.Tensor, float]:
    vectors = torch.from_numpy(block).flatten(0, 1)
    start = time.perf_counter()
    found = project(vectors)
    return found.view(*block.shape[:2], -1), time.perf_counter() - start


def compare(run: Path, samples: Path, out: Path) -> None:
    """Write the scores' error, ranks, recall and detection rate under every projection, its time and its bytes."""
    train, queries = (
        GradientRows(sorted((run / "gradients" / "loss" / split).glob("*.safetensors")), None)
        for split in ("train", "queries")
    )
    subsets = read_subsets([samples, run / "queries" / "queries.parquet"])
    exact, _ = score(queries, train, lambda rows: rows)
    truth = rank_top(exact, queries.ids, train.ids, subsets, _RECALLED)
    records = []
    for name, v, project, kept in projections(train.width):
        found, seconds = score(queries, train, project)
        top = rank_top(found, queries.ids, train.ids, subsets, _RECALLED)
        rates = {f"rate_{k}": float(hits_at(top, k)["rate"].mean()) for k in _DETECTED}
        records.append(
            {
                "projection": name,
                "v": v,
                "rmse": float(np.sqrt(np.mean((found - exact).astype(np.float64) ** 2))),
                "spearman": rank_correlation(found, exact),
                f"recall_{_RECALLED}": recall_at(top, truth, _RECALLED),
                **rates,
                "microseconds_per_gradient": 1e6 * seconds,
                "map_bytes": kept,
                "bytes_per_sample": 2 * train.shape[1] * v,
                "hardware": hardware_label(),
            }
        )
        write_csv(pd.DataFrame(records), out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "projections.csv")
    options = parser.parse_args()
    compare(options.run, options.samples, options.out)
