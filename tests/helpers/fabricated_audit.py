"""An audit of images that nobody trained on: tables in which it is known what is wrong with whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.audit.findings import Audited

SETTINGS: Any = {"fdr": 0.1, "confidence": 0.95}
# Places of the faulty ones; all others are drawn as held-out images are.
FAULTY = list(range(20))


def columns(count: int, seed: int) -> pd.DataFrame:
    """Return what training and held-out images have in common, none with anything wrong."""
    generator = np.random.default_rng(seed)
    names = [f"{'ab'[place % 2]}/{place}" for place in range(count)]
    draw = generator.standard_normal
    return pd.DataFrame(
        {
            "sample": names,
            "subset": [name[0] for name in names],
            "prompt": [f"picture {name}" for name in names],
            "loss": 0.1 * draw(count),
            "loss_500": 1 + 0.1 * draw(count),
            "loss_100": 1 + 0.1 * draw(count),
            "loss_se": 0.01,
            "caption_gap": 0.1 * draw(count) - 0.1,
            "caption_gap_se": 0.05,
            "better_caption": "a/0",
            "hubs": generator.poisson(2, count),
            "hub_share_se": 0.02,
            "closest_query": "query/a/0000",
            "query_score": 0.2 + 0.05 * draw(count),
            "influence_margin": draw(count),
            "feature_margin": draw(count),
            "feature_distance": 0.2 + 0.02 * draw(count),
        }
    ).assign(hub_share=lambda table: table["hubs"] / 40)


def fabricated_audit(train: int = 200, held_out: int = 200) -> Audited:
    """Return the tables of an audit without a fault."""
    generator = np.random.default_rng(5)
    table = columns(train, 1)
    around = [" ".join(name for name in table["sample"] if name[0] == own)[:30] for own in table["subset"]]
    extra = {
        "file": [f"{name[2:]}.png" for name in table["sample"]],
        "width": 64,
        "height": 48,
        "alpha": False,
        "upscaling": 1.0,
        "gradient_norm": 0.1 * generator.standard_normal(train),
        "held_out_influence": 1 + 0.1 * generator.standard_normal(train),
        "held_out_influence_se": 0.5,
        "held_out_images": held_out // 2,
        "influence_neighbours": around,
        "feature_neighbours": around,
        "copies": "",
        "near_copies": "",
        "sharpness": 1 + 0.05 * generator.standard_normal(train),
        "border": 0.05,
        "brightness": 0.5 + 0.02 * generator.standard_normal(train),
        "contrast": 0.2,
        "clipped": 0.1,
    }
    return Audited(table.assign(**extra), columns(held_out, 2), SETTINGS)


def write_tables(given: Audited, folder: Path) -> tuple[Path, Path]:
    """Write both tables as an audit does, and return their paths."""
    paths = folder / "samples.csv", folder / "held_out.csv"
    for table, path in zip((given.train, given.held_out), paths, strict=True):
        table.to_csv(path, index=False)
    return paths
