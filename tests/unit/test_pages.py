"""What is written by code into the project's texts, and that it is in step with what it is written from."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

import pytest
import yaml

import dmin
from dmin.catalogue.families import FAMILIES
from dmin.catalogue.methods import METHODS
from dmin.catalogue.pages import render_families, render_methods, render_methods_by_input
from dmin.runtime.errors import UserError
from dmin.settings.api_page import render_api
from dmin.settings.pages import PARTS, replace_part, update_pages
from dmin.settings.papers import render_papers

ROOT = Path(__file__).parents[2]
SOURCES = ("schemas/config.schema.yaml", "CITATION.cff", "requirements.txt", "requirements-torch.txt")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder with copies of the pages and of what they are written from."""
    for name in {*SOURCES, *(part.page for part in PARTS)}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def cells(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table below its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_pages_are_in_step(copied: Path) -> None:
    assert update_pages(copied) == [], "run make pages"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.page} {part.name}")
def test_part_out_of_step_is_written_again_and_nothing_else(copied: Path, part: object) -> None:
    page = copied / part.page  # type: ignore[attr-defined]
    right = page.read_text()
    text = part.render(copied)  # type: ignore[attr-defined]
    assert right.count(text) == 1
    page.write_text(right.replace(text, "of yesterday") + "\n")
    assert update_pages(copied) == [part.page]  # type: ignore[attr-defined]
    assert page.read_text() == (right + "\n" if part.name else right)  # type: ignore[attr-defined]


def test_page_without_markers_is_refused_and_no_page_is_written(copied: Path) -> None:
    (copied / "README.md").write_text("# dmin\n")
    (copied / "envs" / "dmin.yaml").write_text("")
    with pytest.raises(UserError, match=r"'README.md' lacks the lines '<!-- methods -->' and '<!-- /methods -->'"):
        update_pages(copied)
    assert (copied / "README.md").read_text() == "# dmin\n" and (copied / "envs" / "dmin.yaml").read_text() == ""


@pytest.mark.parametrize("text", ["<!-- a -->", "<!-- /a --> <!-- a -->", "", "<!-- b --><!-- /b -->"])
def test_markers_come_in_pairs_and_in_order(text: str) -> None:
    with pytest.raises(UserError, match="lacks the lines"):
        replace_part(text, "page.md", "a", "new")


def test_every_method_stands_in_both_tables_once() -> None:
    by_input = re.findall(r"`(\w+)`", " ".join(row[1] for row in cells(render_methods_by_input())))
    assert sorted(by_input) == sorted(METHODS)
    rows = cells(render_methods())
    assert sorted(row[0].strip("`") for row in rows) == sorted(METHODS) and {len(row) for row in rows} == {4}
    assert all(row[column] for row in rows for column in range(4))


def test_methods_that_read_the_same_share_a_row() -> None:
    rows = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in cells(render_methods_by_input())}
    assert rows["gradients, cache `output_norm`"] >= {"dtrak", "dtrak_unit"}
    assert rows["gradients, cache `loss`, of queries `journey`"] >= {"journey_trak"}
    assert rows["images"] >= {"clip", "pixels", "ssim"} and rows["prompts"] >= {"text"}
    assert rows["nothing"] >= {"random"} and next(iter(rows)) == "gradients, cache `loss`"


def test_families_say_what_they_can_do() -> None:
    rows = {row[0].strip("`"): row[2:] for row in cells(render_families())}
    assert set(rows) == set(FAMILIES)
    assert rows["ddpm"] == ["`full`", "no", "`training`"]
    assert rows["stable_diffusion_3"] == ["`adapter` or `full`", "yes", "`training`, `reference`"]


def test_papers_have_names_titles_links_and_venues() -> None:
    names = [{"given-names": "A.", "family-names": f"B{number}"} for number in range(6)]
    paper = {"abbreviation": "X", "title": "On X", "authors": names[:2], "year": 2024, "url": "https://x.org"}
    assert render_papers({"references": [paper]}) == "- **X**: A. B0, A. B1. [On X](https://x.org). preprint, 2024."
    paper |= {"authors": names, "conference": {"name": "ICX"}}
    del paper["url"]
    assert render_papers({"references": [paper]}) == "- **X**: A. B0 and others. On X. ICX, 2024."


def test_sources_of_methods_are_papers_of_the_citation_file() -> None:
    papers = [paper["abbreviation"] for paper in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]]
    sources = {
        path.stem: source
        for path in (ROOT / "scripts" / "dmin" / "attribution" / "methods").glob("*.py")
        for source in re.findall(r"^ +Source: (.+)", path.read_text(), re.MULTILINE)
    }
    assert len(sources) >= 15 and {"dmin", "trak", "dtrak", "datainf", "lissa", "tracin", "ssim"} <= set(sources)
    unknown = {name: source for name, source in sources.items() if not any(paper in source for paper in papers)}
    assert unknown == {}


def test_api_page_has_what_the_package_offers_with_its_arguments() -> None:
    page = render_api()
    headings = re.findall(r"^#{2,3} `([\w.]+)", page, re.MULTILINE)
    assert [name for name in headings if name[0] != "."] == ["dmin.attribute", "dmin.open_run", "dmin.OpenedRun"]
    arguments = re.findall(r"^- `(\w+)`:", page.partition("**Returns**")[0], re.MULTILINE)
    assert list(inspect.signature(dmin.attribute).parameters) == arguments
    methods = {f".{name}" for name in vars(dmin.OpenedRun) if not name.startswith("_")}
    assert {name for name in headings if name[0] == "."} == methods
    assert "``" not in page and ":func:" not in page
