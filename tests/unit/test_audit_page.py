"""The page of an audit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated_audit import FAULTY, SETTINGS, fabricated_audit, write_tables
from PIL import Image

from dmin.audit.consequence import COLUMNS as CONSEQUENCE
from dmin.audit.issues import ISSUES
from dmin.audit.report import AuditFiles, write_audit
from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.figures.audit_consequence import ConsequenceFiles
from dmin.figures.audit_page import _MEANINGS, MOST_SHOWN, AuditPageFiles, write_audit_page

ATTACK = "</script><script>alert(1)</script>"


def write_page(folder: Path, consequence: ConsequenceFiles | None = None, **texts: str) -> str:
    """Write an audit with wrong captions and copies, and its page, and return the page; ``texts`` are of sample a/0."""
    made = fabricated_audit()
    train = made.train.copy()
    train.loc[FAULTY, "caption_gap"] = 0.9
    train.loc[[30, 32], "copies"] = ["a/32", "a/30"]
    for name, text in texts.items():
        train.loc[0, name] = text
    tables = write_tables(replace(made, train=train), folder)
    files = AuditFiles(*(folder / name for name in ("audit.csv", "audit.json", "keep.txt", "drop.txt")))
    write_audit(*tables, SETTINGS, files)
    pixels = [np.full((8, 8, 3), place % 256, dtype=np.uint8) for place in range(len(train))]
    images: list[Any] = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
    write_samples(pd.DataFrame({"id": train["sample"], "image": pd.Series(images)}), folder / "train.parquet")
    given = AuditPageFiles(files.issues, files.summary, tables[0], folder / "train.parquet", consequence)
    write_audit_page(given, "six", folder / "page.html")
    return (folder / "page.html").read_text()


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))  # type: ignore[union-attr]
    return found


def test_page_shows_every_issue_with_its_images(tmp_path: Path) -> None:
    data = data_of(write_page(tmp_path))
    assert [name for name, *_ in data["issues"]] == list(ISSUES) == list(_MEANINGS)
    wrong = data["found"]["wrong caption"]
    assert len(wrong) <= MOST_SHOWN and {data["samples"][place][0] for place, *_ in wrong} >= {"a/0", "b/1"}
    place, strength, p_value, low, high, evidence, other = wrong[0]
    assert low < strength < high and p_value < 0.01 and "its neighbours'" in evidence
    assert data["samples"][place][4] >= 0 and data["samples"][other][0] == "a/0"
    copies = {data["samples"][place][0]: data["samples"][other][0] for place, *_, other in data["found"]["duplicate"]}
    assert copies == {"a/30": "a/32", "a/32": "a/30"}
    assert len(data["rows"]) == len(data["samples"]) == 200 and len(data["rows"][0]) == len(data["columns"])
    assert data["summary"]["dropped"] >= len(FAULTY) + 1 and data["consequence"] is None


def test_page_says_what_removing_flagged_images_does(tmp_path: Path) -> None:
    table = pd.DataFrame([dict.fromkeys(CONSEQUENCE, 0.5) | {"removal": "flagged", "measure": "held_out_loss"}])
    table.to_csv(tmp_path / "table.csv", index=False)
    page = write_page(tmp_path, ConsequenceFiles(tmp_path / "table.csv", [], None))
    assert "over images and training seeds, and random draws" in page, "as its random row has them"
    data = data_of(page)
    assert data["consequence"]["rows"][0][0] == "what drop.txt lists" and data["consequence"]["pairs"] == []


@pytest.mark.attack("page", "a caption or a file name that ends the script of an audit's page", "is shown as text")
@pytest.mark.parametrize("column", ["prompt", "file"])
def test_captions_and_names_are_text(tmp_path: Path, column: str) -> None:
    page = write_page(tmp_path, **{column: ATTACK})
    assert ATTACK not in page and page.count("</script>") == 2
    data = data_of(page)
    sample = next(sample for sample in data["samples"] if sample[0] == "a/0")
    assert ATTACK in sample
    assert not re.search(r"https?://", page) and "innerHTML" not in page
