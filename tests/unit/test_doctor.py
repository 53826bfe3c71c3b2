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


def prompts(lines: str, encoding: str = "utf-8") -> Plant:
    def plant(config: Config) -> None:
        Path("prompts.txt").write_text(lines, encoding)
        config["runs"]["r"]["queries"] = {"source": "prompts", "prompts": "prompts.txt"}

    return plant


def widened(given: Tensors) -> Tensors:
    return {name: value.repeat(1, 2) if "lora_A" in name else value for name, value in given.items()}


def spoilt(given: Tensors) -> Tensors:
    return {**given, min(given): given[min(given)] * float("nan")}


def both(*plants: Plant) -> Plant:
    def plant(config: Config) -> None:
        for one in plants:
            one(config)

    return plant


def touch(name: str) -> Plant:
    return lambda _: Path(name).write_bytes(b"GGUF" + bytes(99)) and None


def copied_to(name: str) -> Callable[[Path], object]:
    return lambda file: shutil.copy(file, name)


def in_fp8(file: Path) -> None:
    with safe_open(file, "pt") as stored:
        metadata = stored.metadata()
    save_file({name: value.to(torch.float8_e4m3fn) for name, value in load_file(file).items()}, file, metadata)


def said(**words: str) -> Plant:
    def plant(_: Config) -> None:
        with safe_open(ADAPTER, "pt") as stored:
            metadata = stored.metadata() | words
        save_file(load_file(ADAPTER), ADAPTER, metadata)

    return plant


def ranked(rank: int) -> Plant:
    def plant(_: Config) -> None:
        with safe_open(ADAPTER, "pt") as stored:
            settings = json.loads(stored.metadata()["lora_adapter_metadata"]) | {"r": rank}
        said(lora_adapter_metadata=json.dumps(settings))(_)

    return plant


def sidecars(without: int) -> Plant:
    """Put captions in files beside the images, but for one."""

    def plant(config: Config) -> None:
        Path("images/metadata.jsonl").unlink()
        for number in range(ROWS):
            if number != without:
                Path(f"images/{number:02d}.txt").write_text(f"picture {number}")
        source(caption_column="caption")(config)

    return plant


FAULTS: dict[str, tuple[Plant, str]] = {
    "no folder": (source(path="./none"), r"path '\S*/none' does not exist"),
    "no caption column": (source(caption_column="tags"), r"no column 'tags'"),
    "too few rows": (source(rows=40), r"40 rows asked for, 12 found"),
    "torn image": (file("images/03.png", lambda file: file.write_bytes(b"\x89PNG torn")), r"1 unreadable image"),
    "empty caption": (text("images/metadata.jsonl", "picture 3", ""), r"'text' is empty in 1 row"),
    "link out of the folder": (file("images/03.png", link_out), r"03\.png' lies outside"),
    "reserved name": (source(name="noise"), r"this name is reserved"),
    "nothing to train on": (put("datasets.d.train_fraction", 0.01), r"train_fraction 0.01 leaves the training"),
    "no file of prompts": (
        put("runs.r.queries", {"source": "prompts", "prompts": "none.txt"}),
        r"none\.txt', which does not exist",
    ),
    "no prompt": (prompts("\n\n"), r"has no prompt"),
    "no generated images": (put("runs.r.queries.images.path", "./none"), r"/none', which does not exist"),
    "too few generated images": (put("runs.r.queries.images.rows", 9), r"9 rows asked for, 3 found"),
    "no base": (put("bases.b.path", "./none"), r"bases\.b\S*path is '\S*/none', which does not exist"),
    "torn base": (
        file("base/unet/diffusion_pytorch_model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:2000])),
        r"unet/diffusion_pytorch_model.safetensors'",
    ),
    "no autoencoder": (file("base/vae", shutil.rmtree), r"vae"),
    "base of another family": (put("bases.b.family", "ddpm"), r"which the family ddpm does not take"),
    "no adapter": (put("models.m.weights.path", "./none"), r"models\.m\S*path is '\S*/none', which does not exist"),
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
    "GGUF for a base": (both(touch("base.gguf"), put("bases.b.path", "./base.gguf")), r"nor \.gguf\); convert it"),
    "base in one file without configs": (
        both(
            file("base/unet/diffusion_pytorch_model.safetensors", copied_to("whole.safetensors")),
            put("bases.b.path", "./whole.safetensors"),
        ),
        r"one file without configs and tokenizers",
    ),
    "one shard of a base": (
        both(
            file("base/unet/diffusion_pytorch_model.safetensors", copied_to("sd-00001-of-00002.safetensors")),
            put("bases.b", {"path": "./sd-00001-of-00002.safetensors", "config": "./base"}),
        ),
        r"00001-of-00002",
    ),
    "fp8 base": (file("base/unet/diffusion_pytorch_model.safetensors", in_fp8), r"F8_E4M3"),
    "pickled base": (
        file("base/text_encoder/model.safetensors", lambda file: file.rename(file.with_name("pytorch_model.bin"))),
        r"text_encoder",
    ),
    "no tokenizer": (file("base/tokenizer", shutil.rmtree), r"tokenizer"),
    "base of a video model": (
        text("base/model_index.json", "StableDiffusionPipeline", "WanPipeline"),
        r"WanPipeline, a video model",
    ),
    "base of another pipeline": (
        text("base/model_index.json", "StableDiffusionPipeline", "StableDiffusionXLPipeline"),
        r"set family to stable_diffusion_xl",
    ),
    "adapter of a video model": (said(ss_base_model_version="wan2.1"), r"trained on wan2\.1, a video model"),
    "adapter of another kind of model": (
        said(ss_base_model_version="sdxl_base_v1-0"),
        r"trained on sdxl_base_v1-0, and the base is",
    ),
    "GGUF adapter": (
        both(touch("mine.gguf"), put("models.m.weights.path", "./mine.gguf")),
        r"mine\.gguf' cannot be read \(.*GGUF",
    ),
    "fp8 adapter": (file(str(ADAPTER), in_fp8), r"as F8_E4M3\); convert it"),
    "empty file for an adapter": (file(str(ADAPTER), lambda file: file.write_bytes(b"")), r"download it again"),
    "rank that the file does not have": (ranked(16), r"says rank 16 and has 4"),
    "another kind than LoRA": (
        tensors(lambda given: {f"lora_unet_{name.split('.')[0]}.oft_blocks": v for name, v in given.items()}),
        r"another kind than LoRA",
    ),
    "text encoders that the adapter leaves alone": (
        put("runs.r.gradients.parameters", "adapter_with_text"),
        r"changes no text encoder; set it to adapter",
    ),
    "addresses in the place of images": (
        text("images/metadata.jsonl", '"file_name": "', '"file_name": "https://x.org/'),
        r"https://x\.org",
    ),
    "empty file for an image": (file("images/05.png", lambda file: file.write_bytes(b"")), r"1 unreadable image"),
    "image without its caption beside it": (sidecars(without=4), r"is empty in 1 row"),
    "trigger that nothing stands for": (text("images/metadata.jsonl", "picture 3", "[trigger] 3"), r"\[trigger\]"),
    "prompts in another encoding": (prompts("a red flag\n", "utf-16"), r"UTF-16"),
    "unknown key": (put("runs.r.gradients.cachedim", 256), r"unknown key 'cachedim'; did you mean 'cache_dim'"),
    "number in words": (put("runs.r.influence.top_k", "five"), r"top_k is 'five', but must be of type integer"),
    "no such method": (put("runs.r.influence.methods", ["dmin", "dmim"]), r"methods\.1 is 'dmim'; choose one of"),
    "region of no query": (
        put("runs.r.queries.regions", [{"query": "query/x/0", "name": "a", "box": [0, 0, 1, 1]}]),
        r"which the run does not ask about",
    ),
}


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
