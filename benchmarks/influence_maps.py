"""Whether influence maps and regions find what was planted: composites of two images, against pixels and chance.

``python benchmarks/influence_maps.py RESULTS`` reads a finished run of the embedded example with dmin and dmin_scaled,
and writes ``benchmarks/results/influence_maps.csv`` and the table of docs/maps.md.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from page_part import write_part

from dmin.data.pixels import pixels_to_tensor
from dmin.data.samples import read_samples, sample_pixels
from dmin.evaluation.intervals import rate_interval
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.scale import ScaledSink, TensorScale
from dmin.gradients.shard import Shard
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.fold import fold
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel, load_trained
from dmin.models.regions import grid_masks
from dmin.runtime.seeds import derive_generator

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "benchmarks" / "results" / "influence_maps.csv", ROOT / "docs" / "maps.md"
# Fields to a side, of a patch, and the timesteps of the run that are used: each third, of ten.
GRID, PATCH, STEPS = 8, 4, (1, 4, 6, 7, 8)
WIDTH, CONFIDENCE, TOP = 4096, 0.95, 10
METHODS = {"dmin": "loss", "dmin_scaled": "loss_scaled"}
KINDS = ("halves", "patch", "moved patch")


@dataclass(frozen=True)
class Composite:
    """An image made of two, and what is true of it.

    Attributes:
        pixels: uint8 ``[size, size, 3]``.
        planted: boolean ``[GRID * GRID]``, the fields of what was planted: the left half, or the patch.
        subsets: of the planted part and of the rest.
        source: place of the training image that the patch is of; None for halves, which are of held-out images.
    """

    pixels: np.ndarray
    prompt: str
    planted: np.ndarray
    subsets: tuple[str, str]
    source: int | None


class Example:
    """A finished run of the embedded example: its images, its model and the gradients of its training set."""

    def __init__(self, results: Path, run: str) -> None:
        self.train = read_samples(results / "datasets" / "example" / "train.parquet")
        self.train = self.train[self.train["subset"] != "noise"].reset_index(names="place")
        self.held_out = read_samples(results / "datasets" / "example" / "test.parquet")
        self.held_out = self.held_out[self.held_out["subset"] != "noise"].reset_index(drop=True)
        folder = results / "runs" / run
        shard = Shard(next((folder / "gradients" / "loss" / "train").glob("00000000-*.safetensors")))
        made = shard.provenance["config"]
        self.timesteps = [shard.metadata["timesteps"][place] for place in STEPS]
        base = {"family": "stable_diffusion", "path": str(ROOT / "resources" / "example" / "base"), "revision": None}
        model = TrainedModel(base, results / "models" / "example" / "pytorch_lora_weights.safetensors")
        self.family = load_trained(model, torch.device("cpu"), ["encoders", "denoiser"])
        self.config = {**made["gradients"], "keep_raw": False}
        self.scale = TensorScale.load(folder / "pilot_scale" / "loss.json", 1)
        places = self.train["place"].tolist()
        self.rows = {}
        for method, cache in METHODS.items():
            stored = np.load(folder / "sketch" / cache / f"v{WIDTH}" / "train.npy", mmap_mode="r", allow_pickle=False)
            self.rows[method] = stored[:, STEPS][places].astype(np.float32)
        self.pixels = sample_pixels(self.train).astype(np.float32) / 127.5 - 1
        self.mean = self.pixels.mean(0)

    def fields(self, composite: Composite) -> dict[str, np.ndarray]:
        """Return the gradients of every field, ``[fields, T, WIDTH]`` in units of the whole's norm, by method."""
        masks = torch.stack([mask for _, mask in grid_masks(GRID, GRID, GRID)] + [torch.ones(GRID, GRID)])
        count = len(masks)
        latents = self.family.encode_images(pixels_to_tensor(composite.pixels[None])).expand(count, -1, -1, -1)
        conditioning = {
            name: value.expand(count, *value.shape[1:])
            for name, value in self.family.encode_prompts([composite.prompt]).items()
        }
        ids = [str(number) for number in range(count)]
        encoded = EncodedSamples(ids, latents, conditioning, {}, masks=masks, origins=["composite"] * count)
        found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
        for timestep in self.timesteps:
            run = GradientPass(self.family, encoded, self.config, {"quantity": "loss", "draws": 1})
            plain, scaled = (SketchSink(run.sketch, count) for _ in METHODS)
            both = Both([plain, ScaledSink(scaled, self.scale.at(run.engine.offsets))])
            run.differentiate([(place, timestep) for place in range(count)], both)
            for method, sink in zip(METHODS, (plain, scaled), strict=True):
                unit, norm = sink.finish()
                found[method].append((fold(unit, WIDTH) * (norm / norm[-1])[:, None]).numpy()[:-1])
        return {method: np.stack(parts, 1) for method, parts in found.items()}

    def pixel_fields(self, composite: Composite) -> np.ndarray:
        """Return the products of centred pixels by field, ``[fields, train]``."""
        query = composite.pixels.astype(np.float32) / 127.5 - 1 - self.mean
        products = (query * (self.pixels - self.mean)).sum(-1)
        side = products.shape[1] // GRID
        by_field = products.reshape(len(products), GRID, side, GRID, side).sum((2, 4))
        return by_field.reshape(len(products), -1).T


class Both:
    """Feeds several sinks from one backward pass."""

    def __init__(self, sinks: Sequence[SketchSink | ScaledSink]) -> None:
        self._sinks = sinks

    def add(self, offset: int, gradient: torch.Tensor) -> None:
        for sink in self._sinks:
            sink.add(offset, gradient)


def composites(example: Example, kind: str, count: int) -> Iterator[Composite]:
    """Yield composites of a kind, drawn by their numbers."""
    subsets = sorted(example.held_out["subset"].unique())
    pixels = sample_pixels(example.held_out)
    size = pixels.shape[1]
    cell = size // GRID
    for number in range(count):
        generator = derive_generator(7, kind, str(number))

        def draw(below: int, generator: torch.Generator = generator) -> int:
            return int(torch.randint(below, (1,), generator=generator))

        first = draw(len(subsets))
        second = (first + 1 + draw(len(subsets) - 1)) % len(subsets)
        names = subsets[first], subsets[second]
        rest = example.held_out.index[example.held_out["subset"] == names[1]]
        other = rest[draw(len(rest))]
        image = pixels[other].copy()
        planted = np.zeros((GRID, GRID), bool)
        pool = example.held_out if kind == "halves" else example.train
        own = pool.index[pool["subset"] == names[0]]
        chosen = own[draw(len(own))]
        if kind == "halves":
            image[:, : size // 2] = pixels[chosen][:, : size // 2]
            planted[:, : GRID // 2] = True
            captions = pool["prompt"][chosen], example.held_out["prompt"][other]
            yield Composite(image, ", ".join(captions), planted.ravel(), names, None)
            continue
        source = np.rint((example.pixels[chosen] + 1) * 127.5).astype(np.uint8)
        (top, left), (low, right) = ([draw(GRID - PATCH + 1) for _ in range(2)] for _ in range(2))
        if kind == "patch":
            low, right = top, left
        side = PATCH * cell
        at = slice(low * cell, low * cell + side), slice(right * cell, right * cell + side)
        image[at] = source[top * cell : top * cell + side, left * cell : left * cell + side]
        planted[low : low + PATCH, right : right + PATCH] = True
        # The caption is that of the image it was pasted into: nothing but the patch tells of its source.
        yield Composite(image, example.held_out["prompt"][other], planted.ravel(), names, int(chosen))


def localisation(maps: np.ndarray, composite: Composite, subsets: np.ndarray) -> dict[str, float]:
    """Return how far a map finds what was planted, each in 0..1.

    Args:
        maps: parts of scores ``[fields, train]``.
        subsets: of the training images.
    """
    if composite.source is None:
        ours, theirs = (maps[:, subsets == name].mean(1) for name in composite.subsets)
        contrast = ours - theirs
        pointing = (composite.planted[contrast.argmax()] + ~composite.planted[contrast.argmin()]) / 2
    else:
        contrast = maps[:, composite.source] - maps.mean(1)
        pointing = float(composite.planted[contrast.argmax()])
    found = np.zeros_like(composite.planted)
    found[np.argsort(-contrast, kind="stable")[: composite.planted.sum()]] = True
    iou = (found & composite.planted).sum() / (found | composite.planted).sum()
    return {"iou": float(iou), "pointing": float(pointing)}


def retrieval(scores: np.ndarray, composite: Composite, subsets: np.ndarray) -> float:
    """Return how far a ranking ``[train]`` finds what was planted, in 0..1.

    Of halves, the share of the subset of the planted half in the top 10; of a patch, whether its source is there.
    """
    order = np.argsort(-scores, kind="stable")[:TOP]
    if composite.source is None:
        return float((subsets[order] == composite.subsets[0]).mean())
    return float(composite.source in order)


def region_scores(fields: np.ndarray, inside: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return DMin's scores ``[train]`` of the region ``inside`` (boolean ``[fields]``), of its unit gradients."""
    gradient = fields[inside].sum(0)
    unit = gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)
    scores: np.ndarray = np.einsum("tv,ntv->n", unit, rows, optimize=True)
    return scores


def measure(example: Example, composite: Composite) -> dict[tuple[str, str], float]:
    """Return everything that is measured of a composite, by method and measure."""
    subsets = example.train["subset"].to_numpy()
    everything = np.ones(GRID * GRID, bool)
    found: dict[tuple[str, str], float] = {}
    for method, fields in example.fields(composite).items():
        rows = example.rows[method]
        maps = fields.reshape(len(fields), -1) @ rows.reshape(len(rows), -1).T
        found |= {(method, name): value for name, value in localisation(maps, composite, subsets).items()}
        for name, inside in (("whole", everything), ("region", composite.planted)):
            found[method, name] = retrieval(region_scores(fields, inside, rows), composite, subsets)
    maps = example.pixel_fields(composite)
    found |= {("pixels", name): value for name, value in localisation(maps, composite, subsets).items()}
    lengths = np.square(example.pixels - example.mean).sum(-1)
    side = lengths.shape[1] // GRID
    lengths = lengths.reshape(len(lengths), GRID, side, GRID, side).sum((2, 4)).reshape(len(lengths), -1).T
    for name, inside in (("whole", everything), ("region", composite.planted)):
        cosine = maps[inside].sum(0) / np.sqrt(lengths[inside].sum(0))
        found["pixels", name] = retrieval(cosine, composite, subsets)
    return found


def chances(example: Example, kind: str) -> Mapping[str, float]:
    """Return what each measure is on average for a map or a ranking at random."""
    fields, planted = GRID**2, GRID**2 // 2 if kind == "halves" else PATCH**2
    draws = np.random.default_rng(0).hypergeometric(planted, fields - planted, planted, 100_000)
    shares = example.train["subset"].value_counts(normalize=True)
    top = float(shares.mean()) if kind == "halves" else TOP / len(example.train)
    iou = float((draws / (2 * planted - draws)).mean())
    return {"iou": iou, "pointing": planted / fields, "whole": top, "region": top}


def summarise(rows: pd.DataFrame, chance: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return means with their intervals by composite, method and measure."""
    found = []
    rows = rows.sort_values("composite", kind="stable", key=lambda column: column.map(KINDS.index))
    for (kind, method, name), group in rows.groupby(["composite", "method", "measure"], sort=False):
        values = group["value"].to_numpy()
        low, high = rate_interval([values], CONFIDENCE)
        found.append((kind, method, name, values.mean(), low, high, chance[kind][name], len(values)))
    columns = ["composite", "method", "measure", "mean", "low", "high", "chance", "composites"]
    return pd.DataFrame(found, columns=columns).round(3)


def render(table: pd.DataFrame) -> str:
    """Return the table in Markdown, a line for each composite and method."""
    measures = {"iou": "IoU", "pointing": "pointing game", "whole": "top 10, whole", "region": "top 10, region"}
    lines = [f"| composite | method | {' | '.join(measures.values())} |", "|---|---|" + "---:|" * len(measures)]
    for kind, part in table.groupby("composite", sort=False):
        for method, own in part.groupby("method", sort=False):
            rows = own.set_index("measure")
            cells = [f"{rows['mean'][m]:.2f} ({rows['low'][m]:.2f} to {rows['high'][m]:.2f})" for m in measures]
            lines.append(f"| {kind} | `{method}` | {' | '.join(cells)} |")
        chance = part.drop_duplicates("measure").set_index("measure")["chance"]
        lines.append(f"| {kind} | chance | {' | '.join(f'{chance[m]:.2f}' for m in measures)} |")
    return "\n".join([*lines, "", f"{table['composites'].max()} composites of each kind."]) + "\n"


def main() -> None:
    """Measure, and write the table and its part of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of results with the finished run")
    parser.add_argument("--run", default="example")
    parser.add_argument("--count", type=int, default=24, help="composites of each kind")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    example, start = Example(options.results, options.run), time.monotonic()
    chance, rows = {kind: chances(example, kind) for kind in KINDS}, []
    drawn = {kind: composites(example, kind, options.count) for kind in KINDS}
    # A round of all kinds at a time, so that what is there when it is stopped is a table too.
    for number in range(options.count):
        for kind, found in drawn.items():
            rows += [(kind, *names, value) for names, value in measure(example, next(found)).items()]
        table = summarise(pd.DataFrame(rows, columns=["composite", "method", "measure", "value"]), chance)
        table.to_csv(TABLE, index=False)
        if PAGE.exists():
            write_part(PAGE, "planted", render(table))
        log.info("%d of each kind, %.0f s", number + 1, time.monotonic() - start)


if __name__ == "__main__":
    main()
