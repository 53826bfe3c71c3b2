"""The explorer page is complete, offline, small and safe against what captions hold."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About
from dmin.runtime.errors import UserError

HOSTILE = '</script><b>bold</b><!-- <script> &lt; \u2028 "quoted" \\ {{ 7 * 7 }}'
VOID = {"meta", "link", "input", "img", "br", "hr"}


def cell(seed: int, size: int = 8) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def make_queries(prompt: str = "a cat") -> pd.DataFrame:
    rows = [
        {
            "id": f"query/{subset}/0",
            "subset": subset,
            "prompt": prompt,
            "seed": 2**62 + number,
            "image": cell(100 + number),
        }
        for number, subset in enumerate(("cats", "dogs"))
    ]
    return pd.DataFrame(rows)


def make_samples(count: int = 60, prompt: str = "a caption", size: int = 8) -> pd.DataFrame:
    subsets = ("cats", "dogs", "noise")
    rows = [
        {
            "id": f"s/{number}",
            "subset": subsets[number % 3],
            "prompt": prompt,
            "label": None,
            "origin": f"file {number}",
            "image": cell(number, size),
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows)


def make_ranking(queries: pd.DataFrame, samples: pd.DataFrame, ranks: int) -> pd.DataFrame:
    rows = [
        (query["id"], query["subset"], rank + 1, samples["id"][rank], samples["subset"][rank], 1.0 - rank / 10)
        for query in queries.to_dict("records")
        for rank in range(ranks)
    ]
    return pd.DataFrame(rows, columns=["query_id", "query_subset", "rank", "sample_id", "sample_subset", "score"])


def write(path: Path, prompt: str = "a cat", ranks: int = 30, count: int = 60, run: str = "example") -> str:
    queries, samples = make_queries(prompt), make_samples(count, prompt)
    ranking = make_ranking(queries, samples, ranks)
    write_explorer(path, queries, samples, {"dmin v=256": ranking, prompt: ranking}, About(run, {prompt: prompt}, 24))
    return path.read_text(encoding="utf-8")


def embedded(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


class Checker(HTMLParser):
    """Collects tags, attributes and whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
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
    assert checker.tags.count("script") == 2
    assert "b" not in checker.tags


def test_hostile_text_comes_back_unchanged(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", HOSTILE)
    data = embedded(page)
    assert data["queries"][0][2] == data["samples"][0][2] == HOSTILE
    assert data["notes"] == [[HOSTILE, HOSTILE]]
    assert data["rankings"][1]["label"] == HOSTILE
    assert "<b>bold" not in page


def test_page_loads_nothing_from_outside(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    checker = Checker()
    checker.feed(page)
    assert all(link.startswith(("data:", "#")) for link in checker.links)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|\bimport\(", page)
    assert "default-src 'none'" in page


def test_each_used_image_is_embedded_once(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html")
    data = embedded(page)
    uris = [uri for _, uri in data["images"]]
    assert len(uris) == len({*uris}) == 2 + 24
    assert all(page.count(uri) == 1 for uri in uris)
    assert page.count("data:image/") == len(uris)
    assert [row[0] for row in data["samples"]] == [f"s/{number}" for number in range(24)]


def test_equal_images_share_one_entry(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(6)
    samples["image"] = [cell(1)] * 6
    write_explorer(
        tmp_path / "page.html", queries, samples, {"a": make_ranking(queries, samples, 6)}, About("r", {}, 24)
    )
    data = embedded((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(data["images"]) == 2 + 1


def test_detection_rates_count_all_ranks_and_no_noised_copy(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html", ranks=50))
    ranking = data["rankings"][0]
    # Subsets repeat as cats, dogs, noise, so the first query hits ranks 1, 4, 7, ... and the second 2, 5, 8, ...
    assert ranking["rates"] == [[2 / 5, 4 / 10, 17 / 50], [2 / 5, 3 / 10, 17 / 50]]
    assert [len(top) for top in ranking["top"]] == [24, 24]


def test_own_images_have_no_hits_no_rates_and_their_file_names(tmp_path: Path) -> None:
    queries, samples = make_queries(""), make_samples()
    ranking = make_ranking(queries, samples, 30)
    queries["subset"], queries["seed"] = "query", None
    queries["image"] = [{**image, "path": f"made {number}.png"} for number, image in enumerate(queries["image"])]
    write_explorer(tmp_path / "page.html", queries, samples, {"a": ranking}, About("r", {}, 24, subsets_known=False))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = embedded(page)
    assert data["cutoffs"] == [] and data["rankings"][0]["rates"] == [[], []]
    # Neither a subset nor a seed is made up for what has none.
    assert [[row[1], row[3], row[5]] for row in data["queries"]] == [["", "", "made 0.png"], ["", "", "made 1.png"]]
    words = page.partition("<body>")[2].partition("<script")[0]
    assert not re.search(r"\bhits?\b|[Dd]etection|another subset", words), "nothing on the page claims a hit"
    assert "hits first" in write(tmp_path / "known.html").partition("<script")[0]


def test_rates_beyond_the_ranks_are_unknown(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "page.html", ranks=7))
    assert data["rankings"][0]["rates"][0] == [2 / 5, None, None]


def test_large_images_become_small_webp(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(3, size=400)
    write_explorer(
        tmp_path / "page.html", queries, samples, {"a": make_ranking(queries, samples, 3)}, About("r", {}, 24)
    )
    data = embedded((tmp_path / "page.html").read_text(encoding="utf-8"))
    widths = [width for width, uri in data["images"] if uri.startswith("data:image/webp")]
    assert widths == [128] * 3


def test_seeds_keep_all_digits(tmp_path: Path) -> None:
    assert embedded(write(tmp_path / "page.html"))["queries"][1][3] == str(2**62 + 1)


def test_equal_input_gives_equal_bytes_and_no_leftovers(tmp_path: Path) -> None:
    assert write(tmp_path / "a" / "page.html") == write(tmp_path / "b" / "page.html")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".sha256", "page.html"]


@pytest.mark.parametrize(
    "fault", ["no rankings", "no queries", "unknown sample", "not finite", "bad image", "no column"]
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
        ranking.loc[0, "score"] = np.inf
    elif fault == "bad image":
        samples["image"] = [{"bytes": b"torn", "path": None}] * len(samples)
    else:
        rankings = {"a": ranking.drop(columns="rank")}
    with pytest.raises(UserError) as caught:
        write_explorer(tmp_path / "page.html", queries, samples, rankings, About("r", {}, 24))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert not list(tmp_path.iterdir())
