"""Tokenizers that tell prompts apart, and pipelines that are whole in whichever layout they come."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from spoilt_pipelines import POINTER, TEXT, UNET, first_nan, load, retensor, rewrite, split
from tiny_families import build_ddpm, build_sd3
from tiny_pipeline import CPU

from dmin.models.load import load_family
from dmin.runtime.errors import UserError


@pytest.fixture
def base(tiny_base: Mapping[str, Any], tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion to spoil."""
    return Path(shutil.copytree(tiny_base["path"], tmp_path / "base"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(
            lambda folder: shutil.rmtree(folder) or folder.mkdir(), "is not whole; it needs tokenizer.json",
            marks=pytest.mark.attack("model", "a tokenizer without files", "refused; never an empty one in its place"),
        ),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), "is not whole; it needs", id="one file"),
        pytest.param(
            lambda folder: _vocabulary(folder, {"<|startoftext|>": 0, "<|endoftext|>": 1}), "has an empty vocabulary",
            marks=pytest.mark.attack("model", "a tokenizer with an empty vocabulary", "refused; prompts stay distinct"),
        ),
        pytest.param(
            lambda folder: rewrite(folder / "tokenizer_config.json", model_max_length=77),
            r"says model_max_length 77 and its text encoder takes 2 to 8 tokens", id="too long",
        ),
        pytest.param(
            lambda folder: rewrite(folder / "tokenizer_config.json", model_max_length=10**30),
            "says no model_max_length", id="no length",
        ),
        pytest.param(
            lambda folder: _vocabulary(folder, {**_words(folder), "more": 90_000}),
            "has tokens up to 90000 and its text encoder only 533 embeddings", id="beyond the embeddings",
        ),
        pytest.param(lambda folder: _without_merges(folder), "has words and no merges", id="no merges"),
        pytest.param(
            lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot be loaded", id="torn",
        ),
    ],
)  # fmt: skip
def test_spoilt_tokenizer_is_refused(base: Path, spoil: Callable[[Path], Any], sentence: str) -> None:
    spoil(base / "tokenizer")
    with pytest.raises(UserError, match=sentence) as caught:
        load(base)
    assert "\n" not in str(caught.value)


def _words(folder: Path) -> dict[str, int]:
    return dict(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])


def _vocabulary(folder: Path, words: Mapping[str, int]) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    merges = [pair for pair in stored["model"]["merges"] if "".join(pair) in words and set(pair) <= set(words)]
    stored["model"] |= {"vocab": dict(words), "merges": merges}
    (folder / "tokenizer.json").write_text(json.dumps(stored))


def _without_merges(folder: Path) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    stored["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(stored))


def test_whole_pipelines_load_in_shards_and_from_the_hubs_cache(base: Path, tmp_path: Path) -> None:
    before = load(base).denoiser.state_dict()
    split(base, "diffusion_pytorch_model-00002-of-00002.safetensors")
    # As the hub's client keeps a model: a snapshot of links to blobs.
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(base)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    after = load(snapshot).denoiser.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_unused_files_and_parts_stay_closed(base: Path) -> None:
    (base / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    (base / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_text(POINTER)
    (base / "unet" / "setup.py").write_text("raise SystemExit")
    os.mkfifo(base / "unet" / "pipe")
    rewrite(base / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert load(base).untrained is False


def test_third_part_of_sd3_is_read_as_strictly(tmp_path: Path) -> None:
    folder = tmp_path / "sd3"
    build_sd3(folder, t5=True)
    assert load(folder, "stable_diffusion_3").t5 is not None
    retensor(folder / "text_encoder_3" / "model.safetensors", first_nan)
    with pytest.raises(UserError, match=r"The text_encoder_3 of .* not finite"):
        load(folder, "stable_diffusion_3")


@pytest.mark.parametrize("weights", [True, False])
def test_ddpm_keeps_its_files_in_folders_or_at_the_top(tmp_path: Path, weights: bool) -> None:
    build_ddpm(tmp_path / "nested", weights=weights)
    flat = Path(shutil.copytree(tmp_path / "nested", tmp_path / "flat"))
    for part in ("unet", "scheduler"):
        for file in (flat / part).iterdir():
            file.rename(flat / file.name)
        (flat / part).rmdir()
    given = {"family": "ddpm", "revision": None}
    parts = ["denoiser", "untrained"]
    one, other = (load_family({**given, "path": str(folder)}, CPU, parts) for folder in (tmp_path / "nested", flat))
    assert one.untrained is other.untrained is not weights
    assert one.latent_shape(16) == other.latent_shape(16) == (3, 16, 16)
    if weights:
        left, right = one.denoiser.state_dict(), other.denoiser.state_dict()
        assert all(torch.equal(left[name], right[name]) for name in left)
    other.save_pipeline(tmp_path / "written")
    assert {path.name for path in (tmp_path / "written").iterdir()} == {"model_index.json", "scheduler", "unet"}


@pytest.mark.attack("model", "a DDPM whose weights are `.bin` alone, to be trained", "refused; never from random ones")
def test_random_weights_are_only_for_a_folder_without_any(tmp_path: Path) -> None:
    entry = build_ddpm(tmp_path / "base", weights=False)
    assert load_family(entry, CPU, ["denoiser", "untrained"]).untrained
    with pytest.raises(UserError, match=r"has no weights of its unet; add them, or have it trained"):
        load_family(entry, CPU, ["denoiser"])
    (tmp_path / "base" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"has its weights in 'diffusion_pytorch_model\.bin', a format that can run"):
        load_family(entry, CPU, ["denoiser", "untrained"])


def old_attention(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name attention as the first releases of diffusers did, whose files are still on the hub."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        new = next((key for key in old if "attentions" in layer and layer.endswith(f".{key}")), None)
        found[f"{layer.removesuffix(new)}{old[new]}.{kind}" if new else name] = value
    return found


def test_names_of_old_releases_are_read_as_they_are_meant(base: Path, tmp_path: Path) -> None:
    entry = build_ddpm(tmp_path / "ddpm")
    before = load_family(entry, CPU, ["denoiser"]).denoiser.state_dict()
    retensor(tmp_path / "ddpm" / UNET, old_attention)
    assert any(".query." in name for name in load_file(tmp_path / "ddpm" / UNET))
    after = load_family(entry, CPU, ["denoiser"]).denoiser.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # As Stable Diffusion 1's own text encoder is stored: with a buffer that later releases do not keep.
    prompts = load(base).encode_prompts(["a red flag"])["prompt_embeds"]
    stored = load_file(base / TEXT)
    prefix = "" if any(name.startswith("text_model.") for name in stored) else "text_model."
    old = {f"{prefix}{name}": value for name, value in stored.items()}
    old["text_model.embeddings.position_ids"] = torch.arange(8)[None]
    save_file(old, base / TEXT, metadata={"format": "pt"})
    assert torch.equal(load(base).encode_prompts(["a red flag"])["prompt_embeds"], prompts)
    # The image half of a whole CLIP is no part of this one.
    save_file(old | {"vision_model.x": torch.ones(2), "logit_scale": torch.ones(1)}, base / TEXT, {"format": "pt"})
    assert torch.equal(load(base).encode_prompts(["a red flag"])["prompt_embeds"], prompts)
