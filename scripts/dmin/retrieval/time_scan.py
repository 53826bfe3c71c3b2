"""The latency of the exact scan, beside which searches are judged."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from dmin.retrieval.answers import latency
from dmin.retrieval.scan import scan
from dmin.runtime.meter import Meter
from dmin.runtime.provenance import load_array
from dmin.runtime.readers import read_json


def time_scan(train: Path, queries: Path, top_k: int, metrics: Path) -> None:
    """Measure the latency of the exact scan, one query at a time by one thread, as the other searches' is.

    Args:
        train: sketch ``[N, T, v]``.
        queries: sketch ``[Q, T, v]``.

    Raises:
        UserError: ``top_k`` exceeds the training set, or the sketches differ in length.
    """
    rows, asked = load_array(train, "sketch", "Sketch"), load_array(queries, "sketch", "Sketch")
    # The first scan reads the file.
    scan(rows, asked[:1], top_k)
    seconds = []
    with Meter() as meter:
        for number in range(len(asked)):
            start = time.perf_counter()
            scan(rows, asked[number : number + 1], top_k)
            seconds.append(time.perf_counter() - start)
    v = read_json(train.with_suffix(".json"))["v"]
    meter.write(metrics, backend="exact", v=v, **latency(1000 * np.asarray(seconds)))
