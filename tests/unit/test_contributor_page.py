"""The page of a game's contributors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_game import INTERVAL, PLAYERS, read_game
from PIL import Image

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.figures import contributor_page
from dmin.figures.contributor_page import PageFiles, Played, collect_contributors, write_contributor_page
from dmin.games.contributions import fit_contributions
from dmin.games.records import Records
from dmin.runtime.errors import UserError

ATTACK = "</script><script>alert(1)</script>"
SIX = Played("six", ["quality"])


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return read_game(tmp_path, ("shapley",))


@pytest.fixture
def samples(records: Records) -> pd.DataFrame:
    image = {"bytes": encode_png(Image.fromarray(np.full((8, 8, 3), 90, dtype=np.uint8))), "path": None}
    return pd.DataFrame({"id": [name for ids in records.samples for name in ids], "subset": "a"}).assign(
        image=lambda table: [image] * len(table)
    )


def test_page_holds_every_value_of_every_estimator(records: Records, samples: pd.DataFrame) -> None:
    table = fit_contributions(records, {}, INTERVAL)
    held = dict(zip(records.names, records.samples, strict=True))
    data = collect_contributors(table, held, samples, SIX)
    assert [name for name, _, _ in data["players"]] == PLAYERS
    assert [len(images) for *_, images in data["players"]] == [1, 2, 3, 4, 5, 6]
    rows = table.query("behaviour == 'quality' and estimator == 'exact_shapley'")
    shown = np.array(data["rows"]["quality"]["exact_shapley"])
    assert np.allclose(shown, rows[["value", "low", "high", "share"]], rtol=1e-4)
    assert data["rows"]["quality"]["size"][2] == [3.0, None, None, None]
    assert data["estimators"][0][0] == "exact_shapley" and "64 coalitions of law all" in data["estimators"][0][3]
    with pytest.raises(UserError, match="has nothing to show"):
        collect_contributors(table[:0], held, samples, SIX)


def test_of_very_many_players_the_largest_are_kept(
    records: Records, samples: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributor_page, "MOST_PLAYERS", 2)
    table = fit_contributions(records, {}, INTERVAL)
    data = collect_contributors(table, dict(zip(records.names, records.samples, strict=True)), samples, SIX)
    assert [name for name, *_ in data["players"]] == ["ash", "elm"] and len(data["rows"]["quality"]["shapley"]) == 2


def test_page_opens_on_the_behaviour_that_the_game_lists_first(records: Records, samples: pd.DataFrame) -> None:
    quality = fit_contributions(records, {}, INTERVAL)
    named = ["frechet_classifier", "class_share_4", "class_share_mean_4", "entropy"]
    table = pd.concat([quality.assign(behaviour=name) for name in named], ignore_index=True)
    played = Played("six", ["class_share_mean", "frechet", "class_share"])
    data = collect_contributors(table, dict(zip(records.names, records.samples, strict=True)), samples, played)
    shown = [name for name, _ in data["behaviours"]]
    assert shown == ["class_share_mean_4", "frechet_classifier", "class_share_4", "entropy"]


@pytest.mark.attack("page", "a contributor's name that ends the page's script", "is shown as text")
def test_names_are_text(tmp_path: Path, records: Records, samples: pd.DataFrame) -> None:
    table = fit_contributions(records, {}, INTERVAL)
    table["player"] = table["player"].replace({"ash": ATTACK})
    table.to_csv(tmp_path / "contributions.csv", index=False)
    players = [ATTACK, *PLAYERS[1:]]
    (tmp_path / "players.json").write_text(json.dumps({"players": players, "samples": records.samples}))
    write_samples(samples, tmp_path / "train.parquet")
    files = PageFiles(tmp_path / "contributions.csv", tmp_path / "players.json", tmp_path / "train.parquet")
    write_contributor_page(files, SIX, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert ATTACK not in page and page.count("</script>") == 2
    held = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))  # type: ignore[union-attr]
    assert held["players"][0][0] == ATTACK
    assert not re.search(r"https?://", page)
