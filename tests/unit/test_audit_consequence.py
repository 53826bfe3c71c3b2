"""What removing flagged images does, where it is known what it does."""

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

from dmin.audit.consequence import COLUMNS, Retrained, consequences, evaluate_consequence, nearest_subsets
from dmin.audit.removals import choose_audited_removals
from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.figures.audit_consequence import MOST_PAIRS, ConsequenceFiles, collect_consequence, read_consequence
from dmin.figures.thumbnails import Thumbnails
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError

REMOVALS = ["none", "flagged", "planted", "random", "random"]
# What each set adds to every loss.
SHIFTS = [0.0, -0.1, -0.2, 0.04, 0.06]
IMAGES, SEEDS = 40, 3


def losses(shifts: list[float]) -> pd.DataFrame:
    """Return losses whose spread over images and seeds is far above what the removals change."""
    generator = np.random.default_rng(0)
    image, seed = generator.standard_normal(IMAGES), generator.standard_normal(SEEDS)
    rows = [
        (number, repeat, f"t/{place}", 5 + image[place] + seed[repeat] + shift)
        for number, shift in enumerate(shifts)
        for repeat in range(SEEDS)
        for place in range(IMAGES)
    ]
    return pd.DataFrame(rows, columns=["set", "repeat", "image", "value"])


def test_changes_are_paired_by_image_and_seed() -> None:
    rows = {str(name): numbers for name, *numbers in consequences(losses(SHIFTS), REMOVALS, 0.95)}
    assert list(rows) == ["none", "flagged", "planted", "random"]
    value, difference, low, high, over, over_low, over_high, images, seeds = map(float, rows["flagged"])
    assert difference == pytest.approx(-0.1) and high - low < 1e-9, "images and seeds differ, but not in the change"
    assert over == pytest.approx(-0.15) and over_low < over < over_high, "two random draws are not alike"
    assert value == pytest.approx(float(rows["none"][0]) - 0.1) and (images, seeds) == (IMAGES, SEEDS)
    assert rows["none"][1:4] == [0.0, 0.0, 0.0] and np.isnan(rows["none"][4])
    assert float(rows["random"][1]) == pytest.approx(0.05) and np.isnan(rows["random"][4])


def test_intervals_cover_the_change() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        table = losses([0.0, -0.1, 0.0, 0.0, 0.0])
        noise = table.groupby(["set", "repeat"]).ngroup().map(dict(enumerate(0.05 * generator.standard_normal(15))))
        table["value"] += noise + 0.05 * generator.standard_normal(len(table))
        _, _, _, low, high, *_ = next(row for row in consequences(table, REMOVALS, 0.95) if row[0] == "flagged")
        covered += float(low) <= -0.1 <= float(high)
    assert covered >= 90


@pytest.mark.fault(
    "the losses of a retraining without flagged images are missing", "an error that says what to delete and run again"
)
@pytest.mark.parametrize("kept", ["set != 0 or repeat != 1", "set != 2", "set != 4", "set != 3 or image != 't/3'"])
def test_missing_losses_are_refused(kept: str) -> None:
    with pytest.raises(UserError, match="are missing; delete the run's folder audit/consequence and run again"):
        consequences(losses(SHIFTS).query(kept), REMOVALS, 0.95)


def choose(folder: Path, places: list[int], removals: list[str]) -> pd.DataFrame:
    given = fabricated_audit()
    train = given.train.copy()
    train.loc[places, "caption_gap"] = 0.9
    tables = write_tables(replace(given, train=train), folder)
    planted = folder / "planted.csv"
    pd.DataFrame({"sample": ["a/0", "b/9"], "fault": "foreign", "of": ""}).to_csv(planted, index=False)
    chosen: Any = {"removals": removals, "seed": 4}
    choose_audited_removals(tables, planted, SETTINGS["fdr"], chosen, folder / "removed.parquet")
    return pd.read_parquet(folder / "removed.parquet")


def test_as_many_are_removed_at_random_as_are_flagged(tmp_path: Path) -> None:
    removed = choose(tmp_path, FAULTY, REMOVALS)
    ids = removed.groupby("set")["id"].apply(list)
    names = fabricated_audit().train["sample"]
    assert list(ids.index) == [1, 2, 3, 4] and set(ids[1]) >= set(names[FAULTY])
    assert len(ids[3]) == len(ids[4]) == len(ids[1]) and len({*ids[3]} & {*ids[4]}) < len(ids[3])
    assert ids[2] == ["a/0", "b/9"] and (removed["query_id"] == "").all()
    write_parquet(
        losses(SHIFTS)
        .rename(columns={"image": "query_id", "value": "loss"})
        .assign(low_timestep=0, high_timestep=9, timesteps=10),
        tmp_path / "losses.parquet",
    )
    retrained = Retrained(tmp_path / "removed.parquet", [tmp_path / "losses.parquet"], [])
    evaluate_consequence(retrained, None, {"removals": REMOVALS, "confidence": 0.95}, tmp_path / "table.csv", 8)
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == COLUMNS and set(table["measure"]) == {"held_out_loss"}
    assert table["removed"].tolist() == [0, len(ids[1]), 2, len(ids[1])]


def test_nothing_flagged_removes_nothing(tmp_path: Path) -> None:
    assert choose(tmp_path, [], ["none", "flagged", "random"]).empty


@pytest.mark.fault("an audit that flags every training image", "an error before anything is trained again")
def test_all_flagged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = fabricated_audit().train["sample"].tolist()
    monkeypatch.setattr("dmin.audit.removals.flagged_samples", lambda *_: everything)
    with pytest.raises(UserError, match=r"flags all 200 training images.*lower audit.fdr or leave audit.consequence"):
        choose(tmp_path, FAULTY, REMOVALS)


def test_an_image_is_of_the_subset_of_most_of_the_nearest() -> None:
    known = np.eye(6)
    rows = np.array([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 5, 4, 3]])
    told = nearest_subsets(rows, known, np.array(["x", "y", "y", "x", "z", "z"]))
    assert told.tolist() == ["x", "z"], "of equally frequent ones, that of the nearest"


def pictures(folder: Path, count: int) -> ConsequenceFiles:
    rows, cells = [], []
    for number in range(3):
        for repeat in range(2):
            for place in range(count):
                colour = (40 * number, 100 * repeat, place)
                cells.append({"bytes": encode_png(Image.new("RGB", (8, 8), colour)), "path": None})
                rows.append((f"query/{place}", str(number), str(repeat)))
    images = pd.Series(cells, dtype=object)
    write_samples(pd.DataFrame(rows, columns=["id", "set", "repeat"]).assign(image=images), folder / "images.parquet")
    prompts = ["</script><script>alert(1)</script>", *(f"a thing, {place}" for place in range(1, count))]
    queries = pd.DataFrame({"id": [f"query/{place}" for place in range(count)], "prompt": prompts})
    write_samples(queries.assign(image=images[:count]), folder / "queries.parquet")
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan) | {"removal": "flagged", "removed": 7, "value": 0.25}
    pd.DataFrame([row | {"measure": "held_out_loss"}]).to_csv(folder / "table.csv", index=False)
    return ConsequenceFiles(folder / "table.csv", [folder / "images.parquet"], folder / "queries.parquet")


def test_page_shows_the_same_noise_before_and_after(tmp_path: Path) -> None:
    shown = read_consequence(pictures(tmp_path, MOST_PAIRS + 3))
    thumbnails = Thumbnails()
    data = collect_consequence(shown, thumbnails, 64)
    assert len(data["pairs"]) == MOST_PAIRS and json.loads(json.dumps(data)) == data
    prompt, before, after = data["pairs"][1]
    assert prompt == "a thing, 1" and before != after
    assert shown.pairs[1].before["bytes"] == encode_png(Image.new("RGB", (8, 8), (0, 0, 1)))
    assert shown.pairs[1].after["bytes"] == encode_png(Image.new("RGB", (8, 8), (40, 0, 1)))
    assert data["rows"] == [["what drop.txt lists", 7, "Loss of held-out images", 0.25, *[None] * 6]]
    without = read_consequence(ConsequenceFiles(tmp_path / "table.csv", [], None))
    assert without.pairs == [] and re.search("drop.txt", str(collect_consequence(without, thumbnails, 64)["rows"]))
