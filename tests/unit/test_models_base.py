"""Training a base pipeline from scratch: the tokenizer, and the whole from images to a folder that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_base import base_config
from tiny_pipeline import CPU, PROMPT_LENGTH, SIZE

from dmin.models.base import denoiser
from dmin.models.base.autoencoder import augment_pixels
from dmin.models.base.pipeline import read_sources, train_base
from dmin.models.base.tokenizer import train_tokenizer
from dmin.models.load import load_family
from dmin.models.training.pace import TrainingPace


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_excerpts_are_left_out(tmp_path: Path) -> None:
    images, prompts, sizes = read_sources(base_config(tmp_path)["sources"], SIZE)
    assert images.shape == (8, 3, SIZE, SIZE) and images.abs().max() <= 1
    assert prompts == [f"flags number {n}" for n in (2, 3)] + [f"bricks number {n}" for n in range(2, 8)]
    assert sizes.tolist() == [2.0] * 2 + [6.0] * 6


# The third step of the first training of the UNet, and the second step of its second one.
@pytest.mark.fault("kill in the training of a base", "continues to the same files")
@pytest.mark.parametrize("last", [3, 5])
def test_interrupted_base_training_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    config = base_config(tmp_path)
    train_base(config, tmp_path / "whole", tmp_path / "state-whole", TrainingPace("cpu", 2))
    assert not (tmp_path / "state-whole").exists()

    calls = 0
    mse_loss = denoiser.F.mse_loss

    def die_on_last(*inputs: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == last:
            raise KeyboardInterrupt
        return mse_loss(*inputs)

    with monkeypatch.context() as patch:
        patch.setattr(denoiser.F, "mse_loss", die_on_last)
        with pytest.raises(KeyboardInterrupt):
            train_base(config, tmp_path / "cut", tmp_path / "state", TrainingPace("cpu", 2))
    train_base(config, tmp_path / "cut", tmp_path / "state", TrainingPace("cpu", 2))
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")

    base = {"family": "stable_diffusion", "path": str(tmp_path / "cut"), "revision": None}
    family = load_family(base, CPU, ["encoders", "denoiser"])
    images, _, _ = read_sources(config["sources"], SIZE)
    # The scaling factor brings the modes of the training images to unit variance, but for half-precision weights.
    assert family.encode_images(images).std().item() == pytest.approx(1.0, rel=0.02)


def test_tokenizer_encodes_any_text_and_cuts_it() -> None:
    tokenizer = train_tokenizer(["a red flag", "a blue flag"], 6, PROMPT_LENGTH)
    tokens = tokenizer(["a red flag", "Ünïcode 火 🚩", ""], padding="max_length", truncation=True).input_ids
    assert {len(row) for row in tokens} == {PROMPT_LENGTH}
    assert all(row[0] == tokenizer.bos_token_id and row[-1] == tokenizer.eos_token_id for row in tokens)
    assert tokenizer.unk_token_id not in tokens[1][1:3]
    assert tokenizer.decode(tokenizer("a red flag").input_ids, skip_special_tokens=True).strip() == "a red flag"
    # Merges shorten what the captions hold: "flag" is in both.
    assert len(tokenizer("flag").input_ids) < len(tokenizer("zxqj").input_ids)
    again = train_tokenizer(["a red flag", "a blue flag"], 6, PROMPT_LENGTH)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_augmented_pixels_are_the_same_values_in_other_places() -> None:
    pixels = torch.randn(2, 3, 4, 4)
    for seed in range(6):
        moved = augment_pixels(pixels, torch.Generator().manual_seed(seed))
        assert moved.shape == pixels.shape
        assert torch.equal(moved.reshape(2, -1).sort(1).values, pixels.reshape(2, -1).sort(1).values)
