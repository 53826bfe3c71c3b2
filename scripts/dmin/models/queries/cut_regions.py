"""Regions of queries as queries of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dmin.data.images import encode_png, image_to_array, open_image
from dmin.data.samples import read_samples, sample_pixels, write_samples
from dmin.models.encoded import EncodedSamples
from dmin.models.regions import Regions, box_mask, pooled_mask
from dmin.runtime.errors import UserError
from dmin.settings.runs import Region

# What is left of an image outside its region, in the picture of the region.
_FAINT = 0.25


@dataclass(frozen=True)
class RegionFiles:
    """Where regions are written: the ``table`` that people read them by, and their ``masks``."""

    table: Path
    masks: Path


def cut_regions(regions: Sequence[Region], queries: Path, encoded: Path, out: RegionFiles) -> None:
    """Write regions of queries: a table with the columns ``id, subset, prompt, query, image``, and masks.

    The id is ``QUERY@NAME``, subset and prompt are the query's, and in the image all but the region is faint.

    Raises:
        UserError: a mask is unreadable, empty or of another size than its query, or there is no such query.
    """
    table = read_samples(queries, ["id", "subset", "prompt", "image"]).set_index("id", drop=False)
    cells = EncodedSamples.load(encoded, 0, 1).latents.shape[2:]
    rows, masks = [], []
    for region in regions:
        if region["query"] not in table.index:
            raise UserError(
                f"queries.regions names the query '{region['query']}', which is not among the run's queries; name one "
                f"of '{queries}', such as '{table.index[0]}'."
            )
        query = table.loc[region["query"]]
        pixels = sample_pixels(pd.DataFrame([query]))[0]
        mask = _pixel_mask(region, pixels.shape[:2])
        box = region["box"]
        masks.append(pooled_mask(mask, *cells) if box is None else box_mask(box, *cells))
        image = {"bytes": encode_png(Image.fromarray(_shown(pixels, mask.numpy()))), "path": query["image"]["path"]}
        texts = {"subset": query["subset"], "prompt": query["prompt"], "query": query["id"]}
        rows.append({"id": f"{query['id']}@{region['name']}", **texts, "image": image})
    frame = pd.DataFrame(rows)
    Regions(frame["id"].tolist(), frame["query"].tolist(), torch.stack(masks)).save(out.masks)
    write_samples(frame, out.table)


def _pixel_mask(region: Region, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a region as shares of each pixel, float32 ``[height, width]``."""
    if region["mask"] is None:
        return box_mask(region["box"] or (), *shape[:2])
    path = Path(region["mask"])
    grey = image_to_array(open_image(path.read_bytes(), str(path)).convert("L"))[:, :, 0]
    if grey.shape != tuple(shape[:2]):
        raise UserError(
            f"Mask '{path}' is {grey.shape[1]} x {grey.shape[0]} pixels, but the query is {shape[1]} x {shape[0]}; "
            "scale it to that."
        )
    if not grey.any():
        raise UserError(f"Mask '{path}' is empty (all black); paint the region white.")
    return torch.from_numpy(grey / np.float32(255))


def _shown(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    kept = _FAINT + (1 - _FAINT) * mask[:, :, None]
    shown: np.ndarray = np.rint(255 - (255 - pixels.repeat(3 // pixels.shape[2], axis=2)) * kept).astype(np.uint8)
    return shown
