"""A written matrix of scores with the ids of its rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmin.runtime.provenance import load_array
from dmin.runtime.readers import read_json


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores float32 ``[queries, train]`` and the ids of both."""

    values: np.ndarray
    queries: list[str]
    train: list[str]

    @classmethod
    def read(cls, scores: Path) -> ScoreMatrix:
        """Map the matrix into memory; its ids stand in the JSON file beside it.

        Raises:
            UserError: the matrix is torn.
        """
        facts = read_json(scores.with_suffix(".json"))
        return cls(load_array(scores, "scores", "Scores"), facts["queries"], facts["train"])
