"""The config of a question in one command, the command itself, and a run opened in Python."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finished_run import write_run
from PIL import Image
from tiny_pipeline import build_adapter, build_base

import dmin
from dmin.api import write_config
from dmin.command import main
from dmin.data.samples import read_samples, write_samples
from dmin.quick_config import RUN, Question, quick_config
from dmin.runtime.errors import UserError
from dmin.settings.strict_yaml import read_config_file
from dmin.workflow.tables import read_tables

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Question:
    """Return a question on a tiny base, an adapter, twenty images with metadata and three with none."""
    folder = tmp_path_factory.mktemp("question")
    adapter = build_adapter(build_base(folder / "base"), folder / "adapter")
    for name, count in (("images", 20), ("made", 3)):
        (folder / name / ".cache").mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / name / f"{number:02d}.png")
        Image.new("RGB", (1, 1)).save(folder / name / ".cache" / "thumbnail.png")
    lines = [json.dumps({"file_name": f"{number:02d}.png", "text": "a"}) for number in range(20)]
    (folder / "images" / "metadata.jsonl").write_text("\n".join(lines))
    return Question(folder / "images", adapter, str(folder / "base"), folder / "made")


def test_config_counts_rows_and_follows_the_schema(question: Question) -> None:
    config = quick_config(question)
    run = read_tables(config, PROJECT).runs[RUN]
    assert run.model.base.family.name == "stable_diffusion" and run.model.dataset.settings["size"] == 16
    (source,) = config["datasets"][RUN]["sources"]
    assert source["rows"] == 20 and source["caption_column"] == "auto", "hidden thumbnails are passed over"
    assert run.queries.count == 3 and config["runs"][RUN]["queries"]["images"]["caption_column"] is None
    assert run.influence.settings["top_k"] == run.model.dataset.counts.train == 20, "every image is ranked"


def test_prompts_are_a_file_and_changes_are_laid_over(question: Question, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red fox\n")
    asked = Question(question.images, question.adapter, question.base, tmp_path / "prompts.txt")
    config = quick_config(asked, {"runs": {RUN: {"influence": {"methods": ["dmin", "text"]}}}, "figures": {"dpi": 60}})
    influence = config["runs"][RUN]["influence"]
    assert influence["methods"] == ["dmin", "text"] and influence["top_k"] == 20 and config["figures"] == {"dpi": 60}
    assert read_tables(config, PROJECT).runs[RUN].queries.prompts == ["a red fox"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": Path("none")}, "--images is 'none', which is no folder"),
        ({"adapter": Path("none")}, "--adapter is 'none', which does not exist"),
        ({"queries": Path("none")}, "--queries is 'none', which is no folder"),
        ({"base": str(PROJECT / "docs")}, "a pipeline of kind None, which is of no family here"),
        ({"images": PROJECT / "profiles"}, "it holds neither images nor parquet files"),
    ],
)
def test_what_leads_nowhere_is_told_by_the_command(
    question: Question, changed: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**vars(question), "out": tmp_path / "out", **changed}
    assert main(["attribute", *(word for name, value in given.items() for word in (f"--{name}", str(value)))]) == 1
    error = capsys.readouterr().err
    assert words in error and error.startswith("Error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_import_is_cheap() -> None:
    heavy = ("torch", "numpy", "snakemake", "pandas", "yaml")
    code = f"import sys, dmin; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder with the scores of two methods for one query and two samples."""
    write_run(tmp_path)
    return tmp_path


def test_opened_run_gives_scores_lists_and_images(results: Path) -> None:
    run = dmin.open_run(results)
    assert run.methods == {"dmin": ["64", "4096", "full"], "text": []}
    assert run.scores("dmin").loc["q"].to_dict() == {"s/0": 0.25, "s/1": 0.125}, "4096 is shown where it is there"
    assert run.top("dmin", 64)["sample_id"].tolist() == ["s/1", "s/0"] and len(run.top("text")) == 2
    assert run.image("s/1").size == run.image("q").size and run.queries["id"].tolist() == ["q"]
    for call, words in (
        (lambda: run.scores("trak"), "has no scores of 'trak'; it has dmin, text"),
        (lambda: run.scores("dmin", 128), "at v=128; it has 64, 4096, full"),
        (lambda: run.image("s/9"), "no training sample 's/9'"),
        (lambda: run.ranking("dmin"), "make it by the target rankings"),
        (lambda: dmin.open_run(results / "results" / "datasets"), "holds no scores of a run"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_image_is_of_the_data_set_that_was_scored(results: Path) -> None:
    run, own = dmin.open_run(results), results / "results" / "datasets" / "own" / "train.parquet"
    samples = read_samples(own)
    shown, other = io.BytesIO(), results / "results" / "datasets" / "a_larger_one" / "train.parquet"
    Image.new("RGB", (9, 9)).save(shown, "PNG")
    samples["image"] = [{"bytes": shown.getvalue(), "path": "other.png"}] * 2
    # It has the id too, and comes first.
    write_samples(samples.iloc[::-1], other)
    assert run.image("s/1").size == run.image("q").size != (9, 9)
    write_samples(samples, other)
    with pytest.raises(UserError, match="Data sets a_larger_one, own have the ids of run 'own' and different images"):
        dmin.open_run(results).image("s/1")


def test_ids_of_a_ranking_are_read_as_text(results: Path) -> None:
    file = dmin.open_run(results).ranking_file("text")
    columns = "query,query_file,rank,sample,file,caption,score,share,p_value,significant,low,high"
    file.write_text(f"{columns}\n007,1,1,0012,2,3,0.5,1,,,,\n")
    table = dmin.open_run(results).ranking("text")
    assert table.loc[0, ["query", "sample", "query_file"]].tolist() == ["007", "0012", "1"]


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "a: 1\na: 2\n"])
def test_config_that_is_laid_over_is_read_as_any_config(
    question: Question, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "laid.yaml").write_text(text)
    given = {**vars(question), "out": tmp_path / "out", "config": tmp_path / "laid.yaml"}
    assert main(["attribute", *(word for name, value in given.items() for word in (f"--{name}", str(value)))]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1 and "laid.yaml" in error
    assert not (tmp_path / "out").exists()


def test_config_of_the_users_own_is_not_replaced(question: Question, tmp_path: Path) -> None:
    (tmp_path / "dmin.yaml").write_text("figures: {dpi: 60}\n")
    with pytest.raises(UserError, match="was not written by dmin attribute and would be replaced"):
        write_config({}, tmp_path)
    assert (tmp_path / "dmin.yaml").read_text() == "figures: {dpi: 60}\n"
    for dpi in (70, 80):
        file = write_config({"figures": {"dpi": dpi}}, tmp_path / "out")
    assert read_config_file(file) == {"figures": {"dpi": 80}}


def test_folder_of_several_runs_is_not_guessed_at(results: Path) -> None:
    (results / "results" / "runs" / "other" / "influence").mkdir(parents=True)
    with pytest.raises(UserError, match="has the runs other, own; open the folder of one"):
        dmin.open_run(results)
