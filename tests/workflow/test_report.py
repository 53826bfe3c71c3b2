"""Texts of a user that reach Snakemake's report, its terminal or a page: nothing of them is run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import yaml
from checkout import MICRO, Checkout, micro_config
from config_tables import load

from dmin.workflow.figures import explorer_notes
from dmin.workflow.values import page_text

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&'\""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            MARKUP, id="script",
            marks=pytest.mark.attack("page", "an element of script in a value that the report shows", "shown as text"),
        ),
        pytest.param(
            "<!--<script>", id="comment",
            marks=pytest.mark.attack("page", "a comment that swallows the rest of the report", "shown as text"),
        ),
        pytest.param(
            "\u2028\u2029\n\\", id="ends of lines",
            marks=pytest.mark.attack("page", "ends of lines that break a script of the report", "shown as escapes"),
        ),
    ],
)  # fmt: skip
def test_param_of_a_reported_job_is_plain_text_and_reads_back(text: str) -> None:
    shown = page_text({"Parameters": text, "a": [text]})
    assert not set(shown) & set("<>&'\u2028\u2029\n")
    assert json.loads(shown) == {"Parameters": text, "a": [text]}


@pytest.mark.attack("page", "a pattern of parameters with markup, in the explorer's notes", "reaches the page as data")
def test_notes_of_the_explorer_are_escaped(micro_files: None) -> None:
    config = micro_config()
    config["runs"]["micro"]["gradients"]["parameters"] = f"regex:{MARKUP}"
    config["runs"]["micro"]["gradients"]["keep_raw"] = True
    run = load(config).runs["micro"]
    assert "<" not in page_text(explorer_notes(run))


@pytest.mark.attack("page", "markup in every value of a config whose report is made", "none of it is run in the report")
def test_report_runs_nothing_of_a_config(finished: Checkout) -> None:
    config = micro_config()
    run = config["runs"]["micro"]
    # It matches all parameters too, so that nothing refuses it.
    run["gradients"]["parameters"] = f"regex:.*|{MARKUP}"
    run["influence"]["options"] = {"encoder": "owner/encoder"}
    for source in config["datasets"]["micro"]["sources"]:
        source |= {"image_column": MARKUP, "caption_column": MARKUP, "split": MARKUP, "labels": None}
    report = finished.root / "report.html"
    try:
        finished.write_config(yaml.safe_dump(config))
        result = finished.snakemake("--report", str(report))
    finally:
        finished.write_config(MICRO.read_text())
    assert result.returncode == 0, result.stdout + result.stderr
    page = report.read_text()
    report.unlink()
    assert "<script>alert" not in page and "<img src=x" not in page
    # It is there, as text.
    assert "alert(1)" in page


def test_caption_of_the_report_takes_a_run_of_defaults(finished: Checkout) -> None:
    text = (Path(__file__).parents[2] / "report" / "workflow.rst").read_text()
    import jinja2

    class Snakemake:
        config = {"runs": {"gone": None, "small": {"model": "m"}}}  # noqa: RUF012

    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(snakemake=Snakemake)
    assert "**small**: model m, methods of the default" in page and "gone" not in page
    assert "Main result" not in page, "there is none yet"


def test_front_page_of_the_report_shows_the_main_table(tmp_path: Path) -> None:
    import jinja2
    from docutils.core import publish_parts

    class Snakemake:
        config = {"runs": {"small": {"model": "m"}}}  # noqa: RUF012

    # Longer than a line that docutils reads.
    figure, drawn = tmp_path / "main_table.svg", "<svg>" + "é<&'" * 3000 + "</svg>"
    figure.write_text(drawn, encoding="utf-8")
    text = (Path(__file__).parents[2] / "report" / "workflow.rst").read_text()
    files = [
        SimpleNamespace(path=path, raw_wildcards=SimpleNamespace(run="small")) for path in (figure, tmp_path / "x.svg")
    ]
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    shown = publish_parts(page.render(snakemake=Snakemake, files=files), writer_name="html")["html_body"]
    (source,) = re.findall(r'src="data:image/svg\+xml,([^"]*)"', shown)
    assert unquote(source) == drawn and "system-message" not in shown
    assert shown.index("Main result") < shown.index("How it is made")
