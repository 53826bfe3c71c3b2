"""What an audit says of captions where few held-out images tell how much of a gap is usual."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_audit import FAULTY, SETTINGS, fabricated_audit, write_tables

from dmin.audit.calibration import evaluate_calibration
from dmin.audit.detection import DetectionFiles, evaluate_audit
from dmin.audit.findings import added_up
from dmin.audit.report import AuditFiles, flagged_samples, write_audit


@pytest.mark.parametrize("gaps", [None, 0, 1, 19])
@pytest.mark.fault(
    "an audit whose held-out images hardly ever have a neighbour with another caption",
    "`wrong caption` is left out by name, the others are told",
)
def test_wrong_captions_need_held_out_images_with_other_captions_near(tmp_path: Path, gaps: int | None) -> None:
    given = fabricated_audit()
    given.train.loc[FAULTY, ["caption_gap", "feature_distance"]] = 0.9
    if gaps is None:
        given = replace(given, held_out=given.held_out.drop(columns=["caption_gap", "caption_gap_se"]))
    else:
        given.held_out.loc[gaps:, "caption_gap"] = np.nan
    tables, names = write_tables(given, tmp_path), ("audit.csv", "audit.json", "keep.txt", "drop.txt")
    files = AuditFiles(*(tmp_path / name for name in names))
    write_audit(*tables, SETTINGS, files)
    summary = json.loads(files.summary.read_text())
    assert f"{gaps or 0} of the 200 test images" in summary["left_out"]["wrong caption"]
    assert len(summary["left_out"]) == 1 and summary["issues"]["outlier"]["controlled"] >= len(FAULTY)
    assert len(flagged_samples(*tables, SETTINGS["fdr"])) >= len(FAULTY)
    planted = pd.DataFrame({"sample": given.train["sample"][FAULTY], "fault": "swapped_captions", "of": ""})
    planted.to_csv(tmp_path / "planted.csv", index=False)
    judged = DetectionFiles(tmp_path / "detection.csv", tmp_path / "found.csv")
    evaluate_audit(*tables, tmp_path / "planted.csv", {"confidence": 0.95, "seed": 1}, judged)
    assert "caption_gap" in set(pd.read_csv(judged.detection)["detector"])
    evaluate_calibration(*tables, tmp_path / "planted.csv", {**SETTINGS, "seed": 1}, tmp_path / "calibration.csv")
    assert "wrong caption" not in set(pd.read_csv(tmp_path / "calibration.csv")["issue"])


def test_columns_are_added_up_over_their_deviation_where_they_have_one() -> None:
    table = pd.DataFrame({"a": [2.0, 4.0], "b": [1.0, 3.0], "c": [5.0, 5.0], "d": [1.0, 1.0]})
    held_out = pd.DataFrame({"a": [1.0, 3.0, 5.0], "b": [7.0, np.nan, np.nan], "c": [1.0, 1.0, 1.0]})
    assert added_up(table, held_out, ["a", "b", "c", "d", "e"]).tolist() == [2 / 2 + 1 + 5, 4 / 2 + 3 + 5]
