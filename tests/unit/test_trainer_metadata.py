"""What trainers write into headers of adapters is read, never trusted, and tells an adapter for another base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_adapters import ATTENTION, brought, layers_of, matrices, sd_scripts, written
from strange_adapters import refused
from tiny_pipeline import CPU

from dmin.models.load import load_family
from dmin.models.trainer_metadata import DataFolder, TrainerMetadata, read_trainer_metadata

SAID = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "16",
    "ss_network_alpha": "8.5",
    "ss_base_model_version": "sd_v1",
    "ss_sd_model_name": "v1-5-pruned.safetensors",
    "ss_new_sd_model_hash": "6ce0161689",
    "ss_seed": "42",
    "ss_resolution": "(512, 768)",
    "ss_steps": "1600",
    "ss_epoch": "10",
    "ss_num_train_images": "320",
    "ss_dataset_dirs": json.dumps({"10_fox": {"n_repeats": 10, "img_count": 30}, "reg": {"img_count": 20}}),
}
TOLD = TrainerMetadata(
    network="networks.lora", rank=16, alpha=8.5, base="sd_v1", base_name="v1-5-pruned.safetensors",
    base_hash="6ce0161689", seed=42, resolution=(512, 768), steps=1600, epochs=10, images=320,
    folders=(DataFolder("10_fox", 30, 10), DataFolder("reg", 20, None)),
)  # fmt: skip


def read(tmp_path: Path, said: Mapping[str, str]) -> TrainerMetadata:
    return read_trainer_metadata(written(tmp_path / "x.safetensors", {"a": torch.ones(1)}, said))


def test_what_sd_scripts_says_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, SAID) == TOLD
    assert read(tmp_path, {}) == TrainerMetadata() and TrainerMetadata().told() == {}


@pytest.mark.parametrize(("text", "sides"), [("512", (512, 512)), ("512x768", (512, 768)), ("512,768", (512, 768))])
def test_resolution_in_every_spelling(tmp_path: Path, text: str, sides: tuple[int, int]) -> None:
    assert read(tmp_path, {"ss_resolution": text}).resolution == sides


@pytest.mark.parametrize(
    ("said", "buckets"),
    [
        ({"ss_enable_bucket": "True"}, True),
        ({"ss_enable_bucket": "False"}, False),
        ({"ss_datasets": '[{"enable_bucket": false}, {"enable_bucket": true}]'}, True),
        ({"ss_enable_bucket": "None"}, None),
    ],
)
def test_whether_images_kept_their_shapes(tmp_path: Path, said: dict[str, str], buckets: bool | None) -> None:
    assert read(tmp_path, said).buckets is buckets


def test_folders_of_data_sets(tmp_path: Path) -> None:
    subset = {"image_dir": "C:\\train\\5_cat\\", "img_count": 7, "num_repeats": 5}
    sets = [{"subsets": [subset, {"image_dir": 3}, "x"]}, {"subsets": None}, 4]
    assert read(tmp_path, {"ss_datasets": json.dumps(sets)}).folders == (DataFolder("5_cat", 7, 5),)


@pytest.mark.attack(
    "adapter", "a trainer's notes that are torn, huge or of another kind", "count as unsaid, or are cut"
)
def test_notes_are_not_trusted(tmp_path: Path) -> None:
    odd = {
        "ss_network_dim": "1e400", "ss_network_alpha": "nan", "ss_seed": "None", "ss_resolution": "512" * 90,
        "ss_dataset_dirs": "[" * 100_000, "ss_datasets": '{"a": 1}', "ss_base_model_version": "x\x00\n" * 500,
        "ss_sd_model_name": "None", "ss_steps": "9" * 400, "ss_epoch": "٣",
    }  # fmt: skip
    found = read(tmp_path, odd)
    assert set(found.told()) == {"base"}
    assert len(found.base or "") == 400 and (found.base or "").isprintable()
    many = {f"{number}": {"img_count": number} for number in range(5000)}
    assert len(read(tmp_path, {"ss_dataset_dirs": json.dumps(many)}).folders) == 1000


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "trained on sdxl_base_v1-0, and the base is of the family"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "trained on flux-1-dev/lora, and the base"),
        ({"ss_base_model_version": "wan2.1"}, "trained on wan2.1, a video model, and the base is of the"),
        ({"modelspec.architecture": "hunyuan-video"}, "trained on hunyuan-video, a video model, and the base"),
    ],
)  # fmt: skip
@pytest.mark.attack(
    "adapter", "an adapter that says it was trained on another kind of model", "refused by what it says"
)
def test_adapter_of_another_base_is_refused_by_what_it_says(
    tiny_base: Mapping[str, Any], tmp_path: Path, said: dict[str, str], words: str
) -> None:
    pairs = matrices(layers_of(load_family(tiny_base, CPU, ["denoiser"]).denoiser, ATTENTION))
    refused(written(tmp_path / "x.safetensors", sd_scripts(pairs), said), tiny_base, tmp_path, words)


def test_adapter_that_does_not_fit_is_told_with_the_base_it_names(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", sd_scripts({"mid_block.y": (torch.ones(2, 4), torch.ones(4, 2))}), SAID)
    refused(file, tiny_base, tmp_path, "it says that it was trained on v1-5-pruned.safetensors.$")


@pytest.mark.parametrize("base", ["sd_v1", "stable-diffusion-v1/lora", "my own model"])
def test_what_it_says_is_recorded(tiny_base: Mapping[str, Any], tmp_path: Path, base: str) -> None:
    pairs = matrices(layers_of(load_family(tiny_base, CPU, ["denoiser"]).denoiser, ATTENTION))
    file = written(tmp_path / "x.safetensors", sd_scripts(pairs), {**SAID, "ss_base_model_version": base})
    brought(file, tiny_base, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    assert facts["trainer"]["base"] == base and facts["trainer"]["folders"][0]["repeats"] == 10
