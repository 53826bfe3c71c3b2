"""The doctor names every planted fault in one sentence, several at once together, and a sound config has none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doctor_faults import ADAPTER, FAULTS, ROWS, Config, put, sound
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_pipeline import SIZE, build_adapter, build_base

import dmin.doctor.doctor as examination
from dmin.doctor import data, weights
from dmin.doctor.cost import Machine
from dmin.doctor.doctor import Doctor
from dmin.doctor.findings import Report
from dmin.gradients.raw_sink import RawSink
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.workflow.doctor_entries import doctor_entries
from dmin.workflow.tables import open_tables, read_tables

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base, an adapter, training images and generated images."""
    folder = tmp_path_factory.mktemp("made")
    build_adapter(build_base(folder / "base"), folder / "adapter")
    for name, count in (("images", ROWS), ("generated", 3)):
        (folder / name).mkdir()
        lines = []
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
            lines.append(json.dumps({"file_name": f"{number:02d}.png", "text": f"picture {number}"}))
        (folder / name / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def examined(config: Config) -> Report:
    tables = read_tables(config, PROJECT, spoilt=True)
    measured = PROJECT / "benchmarks" / "results" / "gradients.csv"
    return Doctor(doctor_entries(tables), PROJECT / "resources" / "architectures", measured).examine(Path("results"))


def placed(value: Any, place: str) -> Any:
    """Return a config whose names and paths are those of a place of its own."""
    if isinstance(value, dict):
        return {key: placed(child, place) for key, child in value.items()}
    if isinstance(value, list):
        return [placed(child, place) for child in value]
    if isinstance(value, str) and (value.startswith("./") or value in ("prompts.txt", "none.txt")):
        return f"./{place}/{value.removeprefix('./')}"
    return f"{value}_{place}" if value in ("d", "b", "m", "mine") else value


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a base and an adapter."""
    files = [file for part in ("base", "adapter") for file in sorted((folder / part).rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def told(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the faults by what was planted, each in a data set, base, model and run of its own of one config."""
    folder, whole, plain = tmp_path_factory.mktemp("planted"), dict[str, Any](), sound()
    places = {name: f"p{number:02d}" for number, name in enumerate(FAULTS)}
    touched: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, place in places.items():
            shutil.copytree(made, folder / place)
            patch.chdir(folder / place)
            config = sound()
            FAULTS[name][0](config)
            asked = config["runs"]["r"]["gradients"] != plain["runs"]["r"]["gradients"]
            models = any(config[table] != plain[table] for table in ("bases", "models"))
            touched += [place] if asked or models or contents(folder / place) != contents(made) else []
            for table, entries in placed(config, place).items():
                whole.setdefault(table, {}).update({f"{key}_{place}": entry for key, entry in entries.items()})
        patch.chdir(folder)
        # A sound model is another test's.
        judge = examination.too_large
        patch.setattr(
            examination,
            "too_large",
            lambda model: judge(model) if any(place in model["dataset"] for place in touched) else "it is sound",
        )
        report = examined(whole)
    return {name: [fault for fault in report.faults if place in fault] for name, place in places.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named_in_one_sentence_beside_all_others(name: str, told: dict[str, list[str]]) -> None:
    named = [fault for fault in told[name] if re.search(FAULTS[name][1], fault)]
    assert len(named) == 1, told[name]
    assert "\n" not in named[0] and named[0].endswith((".", "?"))


def test_sound_config_has_no_fault_and_every_fact(folder: Path) -> None:
    shutil.copy(folder / "images" / "00.png", folder / "images" / "01.png")
    report = examined(sound())
    assert report.faults == []
    found = {finding.check: finding for finding in reversed(report.findings)}
    assert found["exact duplicates"].found.startswith("2 images: 00.png = 01.png")
    assert found["captions"].status == "ok" and "12 distinct" in found["captions"].found
    assert "tensors read" in found["adapter"].found and "values in" in found["parameters"].found
    assert "autograd on two samples" in found["gradients"].found and "the training loss" in found["objective"].found
    assert {"batches", "time", "disk", "memory", "sizes", "look alike", "weights"} <= set(found)
    assert "Nothing found" in report.text()


def test_faults_of_all_parts_are_told_together(folder: Path) -> None:
    config = sound()
    names = ("no caption column", "too few generated images", "no alpha")
    for name in names:
        FAULTS[name][0](config)
    other = {"methods": ["tracin"], "widths": [100], "top_k": 99}
    config["runs"]["other"] = {**config["runs"]["r"], "influence": other}
    faults = "\n".join(examined(config).faults)
    for sentence in (*(FAULTS[name][1] for name in names), "tracin", "widths has 100", "top_k is 99"):
        assert re.search(sentence, faults), faults


def test_other_targets_are_told_the_first_mistake(folder: Path) -> None:
    config = sound()
    put("datasets.d.train_fraction", 0.01)(config)
    put("runs.r.gradients.objective", "reference")(config)
    with pytest.raises(SystemExit) as caught:
        open_tables(config, PROJECT)
    assert "train_fraction" in str(caught.value) and "\n" not in str(caught.value)
    assert len(read_tables(config, PROJECT, spoilt=True).mistakes) >= 2


def test_wrong_gradients_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = RawSink.add
    monkeypatch.setattr(RawSink, "add", lambda self, offset, gradient: add(self, offset, 1.01 * gradient))
    assert any("differ from those of autograd by 1.0%" in fault for fault in examined(sound()).faults)


def test_loss_that_depends_on_the_batch_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denoise = StableDiffusion.denoise

    def mixing(self: Any, noised: torch.Tensor, *given: Any) -> torch.Tensor:
        return denoise(self, noised, *given) - 0.1 * noised.mean(0, keepdim=True)

    monkeypatch.setattr(StableDiffusion, "denoise", mixing)
    assert any("what else is in its batch" in fault for fault in examined(sound()).faults)


def test_objective_that_is_not_the_training_loss_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StableDiffusion.objective
    monkeypatch.setattr(StableDiffusion, "objective", lambda self, *given: 1.5 * whole(self, *given))
    assert any("differs from the training loss by 50.0%" in fault for fault in examined(sound()).faults)


@pytest.mark.parametrize(("machine", "lacks"), [(Machine(1000, 2**50), "memory"), (Machine(2**50, 1000), "disk")])
def test_machine_that_is_too_small_by_plan_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine, lacks: str
) -> None:
    monkeypatch.setattr(examination, "this_machine", lambda _: machine)
    (fault,) = examined(sound()).faults
    assert fault.startswith("runs.r needs ") and f"of {lacks} by plan" in fault


def test_a_base_in_one_file_counts_with_the_pipeline_of_its_configs(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"0" * 1000)
    base = {"path": str(file), "config": str(made / "base")}
    model = {"finetune": "adapter", "weights": None, "base": base}
    beside = sum(part.stat().st_size for part in (made / "base").rglob("*.safetensors"))
    monkeypatch.setattr(weights, "MOST_BYTES", beside + 1000)
    assert weights.too_large(model) is None
    monkeypatch.setattr(weights, "MOST_BYTES", beside + 999)
    assert "which are not loaded here" in str(weights.too_large(model))
    assert "'owner/name' is on the hub" in str(weights.too_large({**model, "base": {**base, "config": "owner/name"}}))


def test_link_that_leads_to_nothing_does_not_end_the_examination(folder: Path) -> None:
    Path("base/unet/another.safetensors").symlink_to("gone")
    report = examined(sound())
    assert {"images", "adapter", "time"} <= {finding.check for finding in report.findings}


def test_nothing_on_the_hub_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("dmin.data.hub.open_hub", "dmin.models.own_weights.snapshot_download"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("it asked the hub"))
    config = sound()
    config["datasets"]["d"]["sources"] += [{"name": "hub", "path": "owner/images", "rows": 5}]
    config["models"]["m"]["weights"]["path"] = "owner/adapter"
    report = examined(config)
    said = "is on the hub, and nothing is downloaded here"
    noted = [finding for finding in report.findings if said in finding.found]
    assert {(finding.check, finding.status) for finding in noted} == {("images", "note"), ("weights", "note")}
    assert report.faults == []


@pytest.mark.parametrize("asked", [None, 11])
def test_rows_are_read_up_to_a_limit_and_told_of_those_that_are_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    monkeypatch.setattr(data, "MOST_ROWS", 2)
    config = sound()
    config["datasets"]["d"]["sources"][0]["rows"] = asked
    config["runs"]["r"]["queries"]["images"]["rows"] = asked and 3
    found = [finding.found for finding in examined(config).findings if finding.check == "images"]
    assert found == [f"2 read of {asked or ROWS}, 00.png to 01.png", "2 read of 3, 00.png to 01.png"]


@pytest.mark.parametrize("most", [2, ROWS])
def test_rows_without_the_unreadable_ones_are_too_few_for_the_run_and_the_doctor(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(data, "MOST_ROWS", most)
    Path("images/01.png").write_bytes(b"torn")
    for rows, sound_count in ((None, False), (ROWS, False), (ROWS - 1, True)):
        config = sound()
        config["datasets"]["d"]["sources"][0] |= {"on_unreadable": "skip", "rows": rows}
        faults = examined(config).faults
        assert bool(faults) is not sound_count
        assert all(re.search(r"12 rows asked for, (at most )?11 found .*set rows to 11", fault) for fault in faults)


def test_shapes_and_numbered_folders_are_told(folder: Path) -> None:
    for number, name in enumerate(("1_cat", "2_dog")):
        (folder / "sorted" / name).mkdir(parents=True)
        Image.new("RGB", (3 * SIZE, 2 * SIZE), (90 * number, 0, 0)).save(folder / "sorted" / name / "a.png")
    asked = {"path": "./sorted", "caption_column": None, "rows": None}
    for step, said in ((None, "2 not square, of which the middle is kept"), (SIZE // 4, "2 not square, buckets: 1")):
        config = sound()
        config["datasets"]["d"]["sources"][0].update(asked)
        config["datasets"]["d"]["bucket_step"] = step
        findings = examined(config).findings
        found = {finding.check: finding.found for finding in findings if finding.subject.startswith("datasets")}
        assert said in found["sizes"] and "numbered 1 to 2 and taken for classes" in found["folders"]


def test_what_the_trainer_says_of_the_adapter_is_told(folder: Path) -> None:
    said = {"ss_network_dim": "4", "ss_network_alpha": "8", "ss_resolution": "(16, 16)", "ss_enable_bucket": "True"}
    with safe_open(ADAPTER, "pt") as stored:
        metadata = stored.metadata() | said
    save_file(load_file(ADAPTER), ADAPTER, metadata)
    found = {finding.check: finding.found for finding in examined(sound()).findings}
    assert found["trainer"] == "the adapter says rank 4, alpha 8.0, resolution 16x16"
    assert "trained in aspect-ratio buckets; set datasets.d.bucket_step to 64" in found["buckets"]
