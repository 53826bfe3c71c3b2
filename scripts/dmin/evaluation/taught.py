"""What the scores of a method that was taught another's are worth with the bytes that it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmin.attribution.ranking import rank_top
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.evaluation.compression import COLUMNS, Measures, lds_columns, rank_correlation
from dmin.evaluation.detection import detection_rates, subset_shares
from dmin.evaluation.retrieval_table import recall_at
from dmin.runtime.atomic import write_csv
from dmin.runtime.errors import UserError
from dmin.runtime.meter import hardware_label
from dmin.runtime.readers import read_json


def judge_taught(scores: Path, measures: Measures, out: Path) -> None:
    """Write one row per k, with the columns of the compression ablation.

    ``v`` is how many values are kept of an image, in half precision. ``recall``, ``rmse`` and ``spearman`` are against
    the teacher's scores of the same queries, and empty where the run has none; ``reference`` is the teacher.

    Raises:
        UserError: scores are torn or of other samples, or a k exceeds the training set.
    """
    matrix, facts = ScoreMatrix.read(scores), read_json(scores.with_suffix(".json"))
    values, evaluation = np.asarray(matrix.values, dtype=np.float32), measures.evaluation
    depth, subsets = max(evaluation["k"]), measures.tables.subsets()
    if depth > len(matrix.train):
        raise UserError(f"evaluation.k has {depth}, but the training set has {len(matrix.train)} samples; lower it.")
    top = rank_top(values, matrix.queries, matrix.train, subsets, depth)
    truth, against = None, dict.fromkeys(("rmse", "spearman"), float("nan"))
    if measures.uncompressed is not None:
        taught = _aligned(ScoreMatrix.read(measures.uncompressed), matrix, measures.uncompressed)
        truth = rank_top(taught, matrix.queries, matrix.train, subsets, depth)
        rmse = float(np.sqrt(np.mean((values - taught).astype(np.float64) ** 2)))
        against = {"rmse": rmse, "spearman": rank_correlation(values, taught)}
    judge = None if measures.bank is None else measures.bank.judge(matrix.queries, matrix.train)
    chance = dict.fromkeys(subsets.values(), 0.0) | subset_shares(measures.tables.train)
    row: dict[str, Any] = {
        "method": facts["method"],
        "v": facts["kept_width"],
        "storage": "fp16",
        **against,
        **lds_columns(values, judge, measures.bank),
        "bytes_per_sample": 2 * facts["kept_width"],
        "share_of_uncompressed": 2 * facts["kept_width"] / facts["uncompressed_bytes"],
        "reference": facts["student_teacher"],
        "hardware": hardware_label(),
    }
    rows = [
        {**row, **rate, "recall": None if truth is None else recall_at(top, truth, rate["k"])}
        for rate in detection_rates(top, chance, evaluation)
        if rate["subset"] == "mean"
    ]
    write_csv(pd.DataFrame(rows)[COLUMNS], out)


def _aligned(teacher: ScoreMatrix, student: ScoreMatrix, path: Path) -> np.ndarray:
    if (teacher.queries, teacher.train) != (student.queries, student.train):
        raise UserError(f"Scores '{path}' are of other samples than those of the student; delete them and run again.")
    return np.asarray(teacher.values, dtype=np.float32)
