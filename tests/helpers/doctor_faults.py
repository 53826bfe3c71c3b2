"""Faults that a trainer's folder, adapter, model or config may have, and the sentences that the doctor has for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_pipeline import SIZE

ROWS = 12
ADAPTER = Path("adapter") / "pytorch_lora_weights.safetensors"

Config = dict[str, Any]
Plant = Callable[[Config], None]
Tensors = dict[str, torch.Tensor]


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
