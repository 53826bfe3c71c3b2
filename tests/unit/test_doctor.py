"""The doctor names every planted fault in one sentence, several at once together, and a sound config has none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_pipeline import SIZE, build_adapter, build_base

import dmin.doctor.doctor as examination
from dmin.doctor import weights
from dmin.doctor.cost import Machine
from dmin.doctor.doctor import Doctor
from dmin.doctor.findings import Report
from dmin.gradients.raw_sink import RawSink
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.workflow.doctor_entries import doctor_entries
from dmin.workflow.tables import open_tables, read_tables

PROJECT = Path(__file__).parents[2]
ROWS = 12
ADAPTER = Path("adapter") / "pytorch_lora_weights.safetensors"

Config = dict[str, Any]
Plant = Callable[[Config], None]
Tensors = dict[str, torch.Tensor]


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


def sound() -> Config:
    images = {"path": "./generated", "caption_column": "text", "rows": 3}
    return {
        "datasets": {"d": {"size": SIZE, "noise": {"fraction": 0}, "train_fraction": 0.9, "sources": [
            {"name": "mine", "path": "./images", "caption_column": "text", "rows": ROWS},
        ]}},
        "bases": {"b": {"path": "./base"}},
        "models": {"m": {"dataset": "d", "base": "b", "weights": {"path": "./adapter"}}},
        "runs": {"r": {
            "model": "m",
            "queries": {"source": "images", "images": images},
            "gradients": {"cache_dim": 256, "timesteps": {"count": 3}},
            "influence": {"methods": ["dmin"], "widths": [64], "top_k": 5},
            "evaluation": {"k": [5]},
        }},
    }  # fmt: skip


def examined(config: Config) -> Report:
    tables = read_tables(config, PROJECT, spoilt=True)
    measured = PROJECT / "benchmarks" / "results" / "gradients.csv"
    return Doctor(doctor_entries(tables), PROJECT / "resources" / "architectures", measured).examine(Path("results"))


def put(path: str, value: Any) -> Plant:
    def plant(config: Config) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config.setdefault(name, {})
        config[last] = value

    return plant


def source(**changes: Any) -> Plant:
    return lambda config: config["datasets"]["d"]["sources"][0].update(changes)


def file(path: str, change: Callable[[Path], object]) -> Plant:
    return lambda _: change(Path(path)) and None


def text(path: str, old: str, new: str) -> Plant:
    return file(path, lambda file: file.write_text(file.read_text().replace(old, new)))


def link_out(file: Path) -> None:
    file.unlink()
    file.symlink_to(Path("generated/00.png").absolute())


def tensors(change: Callable[[Tensors], Tensors], keep: bool = True) -> Plant:
    def plant(_: Config) -> None:
        with safe_open(ADAPTER, "pt") as stored:
            metadata = stored.metadata()
        save_file(change(load_file(ADAPTER)), ADAPTER, metadata if keep else {"format": "pt"})

    return plant


def prompts(lines: str) -> Plant:
    def plant(config: Config) -> None:
        Path("prompts.txt").write_text(lines)
        config["runs"]["r"]["queries"] = {"source": "prompts", "prompts": "prompts.txt"}

    return plant


def widened(given: Tensors) -> Tensors:
    return {name: value.repeat(1, 2) if "lora_A" in name else value for name, value in given.items()}


def spoilt(given: Tensors) -> Tensors:
    return {**given, min(given): given[min(given)] * float("nan")}


FAULTS: dict[str, tuple[Plant, str]] = {
    "no folder": (source(path="./none"), r"path './none' does not exist"),
    "no caption column": (source(caption_column="tags"), r"no column 'tags'"),
    "too few rows": (source(rows=40), r"40 rows asked for, 12 found"),
    "torn image": (file("images/03.png", lambda file: file.write_bytes(b"\x89PNG torn")), r"1 unreadable image"),
    "empty caption": (text("images/metadata.jsonl", "picture 3", ""), r"'text' is empty in 1 row"),
    "link out of the folder": (file("images/03.png", link_out), r"03\.png' lies outside"),
    "reserved name": (source(name="noise"), r"this name is reserved"),
    "nothing to train on": (put("datasets.d.train_fraction", 0.01), r"train_fraction 0.01 leaves the training"),
    "no file of prompts": (
        put("runs.r.queries", {"source": "prompts", "prompts": "none.txt"}),
        r"'none.txt', which does not exist",
    ),
    "no prompt": (prompts("\n\n"), r"has no prompt"),
    "no generated images": (put("runs.r.queries.images.path", "./none"), r"'./none', which does not exist"),
    "too few generated images": (put("runs.r.queries.images.rows", 9), r"9 rows asked for, 3 found"),
    "no base": (put("bases.b.path", "./none"), r"bases.b.path is './none', which does not exist"),
    "torn base": (
        file("base/unet/diffusion_pytorch_model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:2000])),
        r"unet/diffusion_pytorch_model.safetensors'",
    ),
    "no autoencoder": (file("base/vae", shutil.rmtree), r"vae"),
    "base of another family": (put("bases.b.family", "ddpm"), r"which the family ddpm does not take"),
    "no adapter": (put("models.m.weights.path", "./none"), r"models.m.weights.path is './none', which does not exist"),
    "no alpha": (tensors(dict, keep=False), r"says no alpha"),
    "another alpha": (put("models.m.weights.alpha", 3), r"says alpha 8.* and not 3"),
    "weights that are not finite": (tensors(spoilt), r"not finite"),
    "adapter of another base": (tensors(widened), r"train it on this base"),
    "half of an adapter": (tensors(lambda given: {name: given[name] for name in sorted(given)[1:]}), r"lora"),
    "pickled adapter": (file(str(ADAPTER), lambda file: file.rename(file.with_suffix(".bin"))), r"never read"),
    "lists too long": (put("runs.r.influence.top_k", 500), r"top_k is 500, but the training set has 10"),
    "width that does not divide": (put("runs.r.influence.widths", [100]), r"widths has 100, which does not divide"),
    "sketch wider than the gradient": (put("runs.r.gradients.cache_dim", 2**20), r"cache_dim is 1048576"),
    "objective of another family": (put("runs.r.gradients.objective", "reference"), r"objective is reference"),
    "method that needs checkpoints": (put("runs.r.influence.methods", ["tracin"]), r"tracin, which needs checkpoints"),
    "method that needs a trajectory": (put("runs.r.influence.methods", ["journey_trak"]), r"needs the trajectory"),
    "no such parameters": (put("runs.r.gradients.parameters", "regex:none"), r"matches no parameter"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named_in_one_sentence(name: str, folder: Path) -> None:
    plant, sentence = FAULTS[name]
    config = sound()
    plant(config)
    report = examined(config)
    named = [fault for fault in report.faults if re.search(sentence, fault)]
    assert len(named) == 1, report.faults
    assert "\n" not in named[0] and named[0].endswith(".")


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
