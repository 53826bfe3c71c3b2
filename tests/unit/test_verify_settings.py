"""Sources and data sets that were made under other settings than the config has are stale, and the setting is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from local_sources import write_folder
from run_config import PROJECT, config

from dmin.data.assembly import AssembledFiles, assemble_dataset
from dmin.data.source import fetch_source
from dmin.models.queries.images import import_queries
from dmin.runtime.atomic import write_json
from dmin.runtime.provenance import CONTENTS, write_contents
from dmin.settings.recorded import recorded
from dmin.verify.digests import Ancestors
from dmin.verify.verify import check_entry
from dmin.workflow.job_contents import JobContents
from dmin.workflow.tables import Tables, read_tables
from dmin.workflow.verify_entries import verify_entries

SOURCE, QUERIES = "sources/d/s.parquet", "runs/r/queries/queries.parquet"
DATASET = "datasets/d/dataset.json"
SHOWN = (SOURCE, DATASET, QUERIES)


def opened(folder: Path, source: dict[str, Any] | None = None, **dataset: Any) -> Tables:
    """Return the tables of a config of one source, whose images are asked about too."""
    images = {"path": str(folder), "rows": None}
    given = config(
        ["dmin"],
        queries={"source": "images", "images": images},
        influence={"methods": ["dmin"], "widths": [256], "top_k": 1},
    )
    given["runs"]["r"]["evaluation"] = {"k": [1]}
    made = {"name": "s", "path": str(folder), "caption_column": None} | (source or {})
    settings = {"size": 64, "noise": {"fraction": 0.5, "std": 0.1}, "train_fraction": 0.75, "sources": [made]}
    given["datasets"] = {"d": settings | dataset}
    given.pop("banks")
    return read_tables(given, PROJECT)


def make(results: Path, tables: Tables) -> None:
    """Make sources, data set and queries as their jobs do."""
    (dataset,), (run,) = tables.datasets.values(), tables.runs.values()
    contents, fetched = JobContents(tables, print), results / SOURCE
    source, seed = dataset.source("s"), dataset.draw_seed("s")
    fetch_source("s", source, fetched, seed)
    places = type("Wildcards", (), {"dataset": "d", "source": "s", "run": "r"})
    write_contents(contents.source(places), fetched, recorded(source, seed=seed))
    folder = (results / DATASET).parent
    names = ("train.parquet", "test.parquet", "dataset.json", "duplicates.csv")
    assemble_dataset({"s": fetched}, dataset.assembly, AssembledFiles(*map(folder.joinpath, names)))  # type: ignore[arg-type]
    import_queries(run.queries.images, 64, results / QUERIES)
    settings = recorded(run.queries.images, size=64, bucket_step=None, profiles=True)
    write_contents(contents.queries(places), results / QUERIES, settings)


def checked(results: Path, tables: Tables) -> dict[str, tuple[str, str]]:
    """Return status and detail of source, data set and queries by file, where they are not ok without a word."""
    entries = verify_entries(tables.runs.values(), [], JobContents(tables, print))
    found = {file: entry for entry in entries if (file := next(iter(entry["files"].values()))) in SHOWN}
    told = {file: check_entry(entry, Ancestors(results)) for file, entry in found.items()}  # type: ignore[arg-type]
    assert set(told) == set(SHOWN)
    return {file: row for file, row in told.items() if row != ("ok", "")}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images"), *[f"{number}.png" for number in range(8)])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """Return the folder of results that were made under the defaults."""
    folder = tmp_path_factory.mktemp("results")
    make(folder, opened(images))
    return folder


def test_the_same_settings_are_ok_wherever_the_images_lie(results: Path, images: Path, tmp_path: Path) -> None:
    assert checked(results, opened(images)) == {}
    moved = tmp_path / "elsewhere"
    moved.symlink_to(images)
    assert checked(results, opened(moved)) == {}


@pytest.mark.fault("a source or a data set of another config", "`verify` names the setting that differs")
@pytest.mark.parametrize(
    ("file", "source", "dataset", "detail"),
    [
        (SOURCE, {"trigger": "sks"}, {}, "trigger None, and the config has 'sks'"),
        (SOURCE, {"caption_column": "auto"}, {}, "caption_column None, and the config has 'auto'"),
        (SOURCE, {"on_unreadable": "skip"}, {}, "on_unreadable 'error', and the config has 'skip'"),
        (SOURCE, {"rows": 7}, {}, "rows 8, and the config has 7"),
        (SOURCE, {"sample": "random"}, {"seed": 3}, "sample 'first', and the config has 'random'"),
        (DATASET, {}, {"seed": 3}, "seed 42, and the config has 3"),
        (DATASET, {}, {"train_fraction": 0.5}, "train_fraction 0.75, and the config has 0.5"),
        (DATASET, {}, {"noise": {"fraction": 0.5, "std": 0.2}}, "noise.std 0.1, and the config has 0.2"),
        (DATASET, {}, {"plant": {"blank": 0.2}}, "plant.blank None, and the config has 0.2"),
        (QUERIES, {}, {"convert_profiles": False}, "profiles True, and the config has False"),
    ],
)
def test_another_setting_is_named(
    results: Path, images: Path, file: str, source: dict[str, Any], dataset: dict[str, Any], detail: str
) -> None:
    assert checked(results, opened(images, source, **dataset))[file] == ("stale", f"made with {detail}")


def test_a_draw_is_of_its_seed(images: Path, tmp_path: Path) -> None:
    drawn = {"sample": "random", "rows": 4}
    make(tmp_path, opened(images, drawn, noise={"fraction": 0, "std": 0}))
    found = checked(tmp_path, opened(images, drawn, noise={"fraction": 0, "std": 0}, seed=5))
    assert found[SOURCE] == ("stale", "made with seed 42, and the config has 5")


def test_more_images_are_other_files(images: Path, results: Path, tmp_path: Path) -> None:
    more = write_folder(tmp_path / "more", *[f"{number}.png" for number in range(9)])
    changed = ("stale", "its files changed since it was made")
    assert checked(results, opened(more)) == {SOURCE: changed, QUERIES: changed}


def test_versions_are_told(images: Path, tmp_path: Path) -> None:
    make(tmp_path, opened(images))
    summary = tmp_path / DATASET
    facts = json.loads(summary.read_text())
    facts["versions"]["torch"] = "0.1"
    write_json({key: value for key, value in facts.items() if key != "checksum"}, summary)
    assert checked(tmp_path, opened(images)) == {DATASET: ("ok", "made with torch 0.1")}


def test_what_does_not_hold_its_settings_is_ok_and_says_so(images: Path, tmp_path: Path) -> None:
    make(tmp_path, opened(images))
    for path in (*((tmp_path / file).with_suffix(CONTENTS) for file in (SOURCE, QUERIES)), tmp_path / DATASET):
        facts = json.loads(path.read_text())
        write_json({key: facts[key] for key in facts.keys() - {"config", "versions", "checksum"}}, path)
    silent = ("ok", "it does not say all settings that it was made under")
    assert checked(tmp_path, opened(images)) == dict.fromkeys(SHOWN, silent)
    # What it does say is compared.
    found = checked(tmp_path, opened(images, seed=3, train_fraction=0.5))
    assert found == {SOURCE: silent, DATASET: ("stale", "made with seed 42, and the config has 3"), QUERIES: silent}
