"""The files of an explorer's folder: whole or not there, none of an earlier one, and none torn that `verify` misses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from explored_run import ExploredRun, make_queries, make_ranking, make_samples

from dmin.figures.explorer import write_explorer_folder
from dmin.figures.explorer_data import About
from dmin.figures.explorer_rankings import Ranked
from dmin.runtime.errors import UserError
from dmin.verify.folders import check_folder

ABOUT = About("fabricated", {}, 6)
KILLED = """
import sys, time
from pathlib import Path
from dmin.runtime.atomic import atomic_folder
with atomic_folder(Path(sys.argv[1])) as temporary:
    (temporary / "files").mkdir()
    print("made", flush=True)
    time.sleep(60)
"""


def write(folder: Path, size: int = 8, count: int = 12, seed: int = 0) -> None:
    queries, samples = make_queries(), make_samples(count, size=size)
    rankings = {"a": make_ranking(queries, samples, 5, seed)}
    run = ExploredRun.write(folder.parent / "made", queries, samples, rankings)
    write_explorer_folder(folder, run.tables, run.rankings, ABOUT)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_nothing_of_an_earlier_folder_is_left_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "explorer_folder"
    write(folder, size=150)
    (folder / "files" / "0" / "999.webp").write_bytes(b"stale")
    first = len(contents(folder))
    write(folder)
    write(tmp_path / "other" / "explorer_folder")
    assert contents(folder) == contents(tmp_path / "other" / "explorer_folder") and len(contents(folder)) < first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explorer_folder", "made", "other"]


@pytest.mark.fault("an image that cannot be read, in the explorer's folder", "one sentence; the folder before it stays")
def test_a_folder_is_whole_or_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "explorer_folder"
    write(folder)
    before = contents(folder)
    queries, samples = make_queries(), make_samples(12)
    samples.at[11, "image"] = {"bytes": b"torn", "path": None}
    run = ExploredRun.write(tmp_path / "made", queries, samples, {"a": make_ranking(queries, samples, 5)})
    with pytest.raises(UserError, match="'s/11'"):
        write_explorer_folder(folder, run.tables, run.rankings, ABOUT)
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explorer_folder", "made"]


@pytest.mark.parametrize("fault", ["flipped picture", "flipped numbers", "flipped list", "lost", "stale"])
def test_verify_finds_what_is_not_whole(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "explorer_folder"
    write(folder)
    assert {status for _, status, _ in check_folder(tmp_path, "explorer_folder", set())} == {"ok"}
    names = {"flipped picture": "*.webp", "flipped numbers": "*.js", "flipped list": "files.sha256", "lost": "*.js"}
    path = min(folder.rglob(names.get(fault, "*.webp")))
    if fault == "lost":
        path.unlink()
    elif fault == "stale":
        path.with_name("999.webp").write_bytes(b"stale")
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    told = [(file, status) for file, status, _ in check_folder(tmp_path, "explorer_folder", set()) if status != "ok"]
    assert told == [("explorer_folder/files.sha256", "torn")]


def test_equal_images_share_a_picture(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(4, size=150)
    samples["image"] = [samples["image"][0]] * 4
    run = ExploredRun.write(tmp_path / "made", queries, samples, {"a": make_ranking(queries, samples, 4)})
    write_explorer_folder(tmp_path / "folder", run.tables, run.rankings, ABOUT)
    page = (tmp_path / "folder" / "index.html").read_text(encoding="utf-8")
    pictures = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["pictures"]["samples"]
    assert pictures["cells"] == [0] * 4 and len(set(pictures["large"].values())) == 1


def test_a_ranking_without_scores_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    queries, samples = make_queries(), make_samples(12)
    bare = Ranked(make_ranking(queries, samples, 5).top)
    run = ExploredRun.write(tmp_path / "made", queries, samples, {"a": bare})
    write_explorer_folder(tmp_path / "folder", run.tables, run.rankings, ABOUT)
    assert not list((tmp_path / "folder").rglob("*.js"))


@pytest.mark.fault("a writer of the explorer's folder is killed", "the next one removes what it left")
def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "explorer_folder"
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE)
    assert killed.stdout is not None and killed.stdout.readline() == b"made\n"
    killed.kill()
    killed.communicate()
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    write(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explorer_folder", "made"]
