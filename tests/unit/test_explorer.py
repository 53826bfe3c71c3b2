"""The explorer page is complete, offline, small and safe against what captions hold."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explored_run import ExploredRun, cell, make_beside, make_queries, make_ranking, make_samples
from PIL import Image

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About
from dmin.figures.explorer_rankings import Ranked
from dmin.runtime.errors import UserError

HOSTILE = '</script><b>bold</b><!-- <script> &lt; \u2028 "quoted" \\ {{ 7 * 7 }}'
VOID = {"meta", "link", "input", "img", "br", "hr"}


def write(path: Path, prompt: str = "a cat", ranks: int = 30, count: int = 60, run: str = "example") -> str:
    queries, samples = make_queries(prompt), make_samples(count, prompt)
    ranking = make_ranking(queries, samples, ranks)
    made = ExploredRun.write(path.parent / "made", queries, samples, {"dmin v=256": ranking, prompt: ranking})
    beside = make_beside(queries, samples)
    write_explorer(path, made.tables, made.rankings, About(run, {prompt: prompt}, 24), beside)
    return path.read_text(encoding="utf-8")


def embedded(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def blob(page: str, place: int) -> bytes:
    match = re.search(rf'<script type="text/plain" id="blob-{place}">([^<]*)</script>', page)
    assert match is not None
    return base64.b64decode(match[1])


def sheets(page: str, kind: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(blob(page, place))) for place in embedded(page)["pictures"][kind]["sheets"]]


class Checker(HTMLParser):
    """Collects tags, attributes and whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.kinds: list[str | None] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.kinds += [dict(attrs).get("type")] if tag == "script" else []
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_parses_and_every_element_is_closed(tmp_path: Path) -> None:
    checker = Checker()
    checker.feed(write(tmp_path / "page.html", HOSTILE, run=HOSTILE))
    checker.close()
    assert checker.open == []
    assert checker.kinds.count(None) == 1, "one script runs; all others hold data"
    assert checker.tags.count("style") == 1 and "b" not in checker.tags


def test_hostile_text_comes_back_unchanged(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", HOSTILE)
    data = embedded(page)
    assert data["queries"][0][2] == data["samples"][0][2] == HOSTILE
    assert data["notes"] == [[HOSTILE, HOSTILE]]
    assert data["rankings"][1]["label"] == HOSTILE
    assert "<b>" not in page


@pytest.mark.attack(
    "page", "an element of script in the explorer that is not its own", "the page's policy runs no other"
)
def test_policy_names_the_one_script_and_the_one_style(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "unsafe" not in policy[1]
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        match = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert match is not None
        digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy[1].replace("&#39;", "'")


def test_page_loads_nothing_from_outside(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    checker = Checker()
    checker.feed(page)
    assert all(link.startswith(("data:", "#")) for link in checker.links)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|\bimport\(|innerHTML", page)
    assert "default-src 'none'" in page


def test_every_picture_stands_in_its_cell_as_it_is(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    atlas = embedded(page)["pictures"]["samples"]
    assert atlas["lossless"] and atlas["side"] == 8 and atlas["large"] == {}
    assert atlas["sizes"] == [[8, 8]] * 60 and atlas["cells"] == list(range(60))
    (sheet,) = sheets(page, "samples")
    for number in (0, 7, 59):
        row, column = divmod(number, atlas["columns"])
        found = np.asarray(sheet.convert("RGB"))[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(cell(number)["bytes"]))))


def test_equal_images_share_one_cell(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(6)
    samples["image"] = [cell(1)] * 6
    made = ExploredRun.write(tmp_path, queries, samples, {"a": make_ranking(queries, samples, 6)})
    write_explorer(tmp_path / "page.html", made.tables, made.rankings, About("r", {}, 24))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert embedded(page)["pictures"]["samples"]["cells"] == [0] * 6
    assert sheets(page, "samples")[0].size == (8, 8)


def test_large_images_have_small_cells_and_a_larger_copy(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(3, size=600)
    made = ExploredRun.write(tmp_path, queries, samples, {"a": make_ranking(queries, samples, 2)})
    write_explorer(tmp_path / "page.html", made.tables, made.rankings, About("r", {}, 2))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    atlas = embedded(page)["pictures"]["samples"]
    assert atlas["side"] == 128 and not atlas["lossless"] and atlas["sizes"] == [[600, 600]] * 3
    # Two are ranked, and the third is an opponent.
    assert {place: Image.open(io.BytesIO(blob(page, at))).size for place, at in atlas["large"].items()} == {
        "0": (512, 512), "1": (512, 512), "2": (512, 512),
    }  # fmt: skip


def test_detection_rates_count_all_ranks_and_no_noised_copy(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html", ranks=50))
    ranking = data["rankings"][0]
    # Subsets repeat as cats, dogs, noise, so the first query hits ranks 1, 4, 7, ... and the second 2, 5, 8, ...
    assert ranking["rates"] == [[2 / 5, 4 / 10, 17 / 50], [2 / 5, 3 / 10, 17 / 50]]
    assert [len(top) for top in ranking["top"]] == [24, 24]


def test_every_rate_has_chance_and_wilsons_interval(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html", ranks=50))
    assert [row[5] for row in data["queries"]] == [round(1 / 3, 5)] * 2
    # Wilson's interval of 2 hits in 5, and of 4 in 10, by Wilson 1927.
    assert data["rankings"][0]["intervals"][0][:2] == [[0.11762, 0.76928], [0.16818, 0.68733]]
    rate, low, high = data["rankings"][0]["means"][""][1]
    assert rate == 0.35 and 0 < low < rate < high < 1


def test_opponents_are_the_lowest_scores_from_the_lowest_on(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html"))
    ranking = data["rankings"][0]
    assert ranking["low"][0] == list(range(59, 35, -1))
    assert ranking["low_scores"][0][:2] == [-4.9, -4.8]


def test_scores_of_all_images_come_back_within_half_a_level(tmp_path: Path) -> None:
    queries, samples = make_queries(count=4), make_samples(40)
    ranking = make_ranking(queries, samples, 5, seed=1)
    made = ExploredRun.write(tmp_path, queries, samples, {"a": ranking})
    write_explorer(tmp_path / "page.html", made.tables, made.rankings, About("r", {}, 5))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = embedded(page)["rankings"][0]
    ends = np.array(found["spread"]["ends"])
    levels = np.frombuffer(blob(page, found["all"]), dtype="<u2").reshape(4, 40)
    span = (ends[:, 1] - ends[:, 0])[:, None]
    assert ranking.scores is not None
    assert np.abs(ends[:, :1] + levels / 65_535 * span - ranking.scores.values).max() <= span.max() / 65_535 / 1.99
    counts = np.frombuffer(blob(page, found["spread"]["counts"]), dtype="<u2").reshape(4, 48)
    assert counts.sum(axis=1).tolist() == [40] * 4


def test_significance_is_read_where_a_list_has_it(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(6)
    ranking = make_ranking(queries, samples, 3)
    top = ranking.top.assign(
        p_value=[0.01, 0.2, np.nan] * 2,
        significant=pd.array([True, False, None] * 2, dtype="boolean"),
        low=[0.9, 0.7, np.nan] * 2,
        high=[1.1, 1.0, np.nan] * 2,
    )
    rankings = {"a": Ranked(top, ranking.scores), "b": ranking}
    made = ExploredRun.write(tmp_path, queries, samples, rankings)
    write_explorer(tmp_path / "page.html", made.tables, made.rankings, About("r", {}, 24))
    judged, bare = embedded((tmp_path / "page.html").read_text(encoding="utf-8"))["rankings"]
    assert judged["judged"][1] == {
        "p_value": [0.01, 0.2, None], "low": [0.9, 0.7, None], "high": [1.1, 1.0, None],
        "significant": [True, False, None],
    }  # fmt: skip
    assert "judged" not in bare


def test_audit_and_map_are_told_by_place(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    data = embedded(page)
    assert data["audit"]["issues"] == ["mislabelled", "harmful"]
    assert [flag[:2] for flag in data["audit"]["flags"]] == [[1, 0], [4, 1], [4, 0]]
    # Standard errors are 0.2, and within two of them an influence is not told from none.
    assert data["audit"]["helps"][0] == [0, 1.0, True] and data["audit"]["helps"][-1] == [59, -1.0, True]
    assert data["audit"]["helps"][30][2] is False
    (found,) = data["maps"]
    places = np.frombuffer(blob(page, found["samples"]), dtype="<u2").reshape(60, 2)
    assert places.min() > 0, "0 says that a sample has no place"


def test_influence_maps_are_told_by_pair(tmp_path: Path) -> None:
    ((query, sample, kinds),) = embedded(write(tmp_path / "page.html"))["parts"]
    assert (query, sample) == (0, 0) and sorted(kinds) == ["layer", "query_region", "sample_region", "timestep"]
    assert kinds["query_region"][:2] == [["0,0", 0.5], ["0,1", 0.4]] and kinds["layer"][1] == ["<b>up</b>", -0.6]


def test_own_images_have_no_hits_no_rates_and_their_file_names(tmp_path: Path) -> None:
    queries, samples = make_queries(""), make_samples()
    ranking = make_ranking(queries, samples, 30)
    queries["subset"], queries["seed"] = "query", None
    queries["image"] = [{**image, "path": f"made {number}.png"} for number, image in enumerate(queries["image"])]
    made = ExploredRun.write(tmp_path, queries, samples, {"a": ranking})
    about = About("r", {}, 24, subsets_known=False)
    write_explorer(tmp_path / "page.html", made.tables, made.rankings, about)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = embedded(page)
    assert data["cutoffs"] == [] and data["rankings"][0]["rates"] == [[], []] and data["rankings"][0]["means"] == {}
    # Neither a subset nor a seed nor a chance is made up for what has none.
    assert [row[1:2] + row[3:] for row in data["queries"]] == [
        ["", "", "made 0.png", None],
        ["", "", "made 1.png", None],
    ]
    words = page.partition("<body")[2].partition("<script")[0]
    assert not re.search(r"\bhits?\b|[Dd]etection|another subset", words), "nothing on the page claims a hit"
    assert "hits first" in write(tmp_path / "known.html").partition("<script")[0]


def test_rates_beyond_the_ranks_are_unknown(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html", ranks=7))
    assert data["rankings"][0]["rates"][0] == [2 / 5, None, None]
    assert data["rankings"][0]["means"]["cats"][1:] == [None, None]


def test_seeds_keep_all_digits(tmp_path: Path) -> None:
    assert embedded(write(tmp_path / "page.html"))["queries"][1][3] == str(2**62 + 1)


def test_equal_input_gives_equal_bytes_and_no_leftovers(tmp_path: Path) -> None:
    assert write(tmp_path / "a" / "page.html") == write(tmp_path / "b" / "page.html")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".sha256", "made", "page.html"]


@pytest.mark.parametrize(
    "fault", ["no rankings", "no queries", "unknown sample", "not finite", "bad image", "no column", "other scores"]
)
def test_bad_input_is_one_sentence_and_writes_nothing(fault: str, tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(6)
    ranking = make_ranking(queries, samples, 3)
    rankings = {"a": ranking}
    if fault == "no rankings":
        rankings = {}
    elif fault == "no queries":
        queries = queries[:0]
    elif fault == "unknown sample":
        samples = samples[3:]
    elif fault == "not finite":
        ranking.top.loc[0, "score"] = np.inf
    elif fault == "bad image":
        samples["image"] = [{"bytes": b"torn", "path": None}] * len(samples)
    elif fault == "no column":
        rankings = {"a": Ranked(ranking.top.drop(columns="rank"))}
    else:
        rankings = {"a": Ranked(ranking.top, make_ranking(queries[:1], samples, 3).scores)}
    made = ExploredRun.write(tmp_path / "made", queries, samples, rankings)
    with pytest.raises(UserError) as caught:
        write_explorer(tmp_path / "page.html", made.tables, made.rankings, About("r", {}, 24))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
