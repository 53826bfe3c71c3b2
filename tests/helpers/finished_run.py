"""The results of a run that two methods have scored, without a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dmin.attribution.outputs import Scored, ScoreFiles, write_scores
from dmin.attribution.ranking_table import write_ranking
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.runtime.meter import Meter

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "explorer.png"


def write_run(folder: Path, rankings: bool = False) -> None:
    """Write the scores of two methods for one query and two samples, and, if asked for, the tables for people."""
    run = folder / "results" / "runs" / "own"
    tables = SampleTables(queries=run / "queries/queries.parquet", train=folder / "results/datasets/own/train.parquet")
    image = {"bytes": PICTURE.read_bytes(), "path": "made.png"}
    train = {"subset": "s", "prompt": "a", "origin": ["0.png", "1.png"], "image": [image] * 2}
    write_samples(pd.DataFrame({"id": ["s/0", "s/1"], **train}), tables.train)
    write_samples(
        pd.DataFrame({"id": ["q"], "subset": "s", "prompt": "a", "image": [image], "seed": 1}), tables.queries
    )
    for place in ("dmin/v64", "dmin/v4096", "dmin/vfull", "text"):
        method, *width = place.split("/")
        values = np.array([[0.25, 0.5 if width == ["v64"] else 0.125]], dtype=np.float32)
        scores = run / "influence" / place
        lists = scores / "exact" if width else scores
        top = lists / "top.parquet"
        files = ScoreFiles(scores / "scores.npy", scores / "scores.json", top, scores / "metrics.json")
        scored = Scored(method, values, ["q"], ["s/0", "s/1"], {}, {}, {"train": "", "queries": ""})
        with Meter() as meter:
            pass
        write_scores(scored, dict.fromkeys(("q", "s/0", "s/1"), "s"), 2, files, meter)
        if rankings:
            write_ranking(top, tables, lists / "ranking.csv", lists / "ranking.json")
