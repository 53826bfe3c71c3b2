"""What the plan reads of a base's configs, whatever these hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.runtime.errors import UserError

SHIPPED = Path(__file__).parents[2] / "resources" / "architectures"
SD14 = {"family": "stable_diffusion", "path": "CompVis/stable-diffusion-v1-4", "revision": None}
CIFAR = {"family": "ddpm", "path": "google/ddpm-cifar10-32", "revision": None}


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, " " * (2**26 + 1)])
def test_damaged_architecture_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"unet/config.json' is not whole JSON .*; restore it"):
        read_architecture("base", {**SD14, "path": str(tmp_path)}, SHIPPED)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("unet", '{"_class_name": "UNet2DConditionModel", "block_out_channels": "x"}'),
        ("unet", '{"_class_name": "UNet2DConditionModel", "in_channels": null}'),
        ("vae", '{"block_out_channels": 3}'),
    ],
)
def test_configs_that_make_no_denoiser_are_told(tmp_path: Path, tiny_base: Any, part: str, text: str) -> None:
    base = shutil.copytree(tiny_base["path"], tmp_path / "base")
    (base / part / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"^the configs of '.*/base' give no denoiser \(.*\); restore them\.$"):
        architecture = read_architecture("base", {**tiny_base, "path": str(base)}, SHIPPED)
        MetaDenoiser(architecture, None, "all").saved_bytes(16)
        architecture.latent_shape(16)


def test_tokenizer_without_a_limit_reads_as_many_tokens_as_clip(tmp_path: Path, tiny_base: Any) -> None:
    base = shutil.copytree(tiny_base["path"], tmp_path / "base")
    for limit in ("null", '"many"', str(10**30)):
        (base / "tokenizer" / "tokenizer_config.json").write_text(f'{{"model_max_length": {limit}}}')
        assert read_architecture("base", {**tiny_base, "path": str(base)}, SHIPPED).clip_tokens == 77


def test_cached_download_wins_over_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "config.json"
    cached.write_text('{"_class_name": "UNet2DModel", "in_channels": 7}')
    asked: list[Any] = []

    def find(repository: str, part: str, revision: str | None) -> str | None:
        asked.append((repository, revision))
        return str(cached) if part == "config.json" else None

    monkeypatch.setattr("dmin.plan.architecture.try_to_load_from_cache", find)
    architecture = read_architecture("base", {**CIFAR, "revision": "v1"}, SHIPPED)
    assert architecture.latent_shape(32) == (7, 32, 32)
    assert set(asked) == {("google/ddpm-cifar10-32", "v1")}
    assert read_architecture("base", SD14, SHIPPED).latent_shape(512) == (4, 64, 64)
