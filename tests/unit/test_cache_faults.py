"""What the gradient cache does about bad losses, too little memory or disk, and settings that cannot work."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipeline import build_adapter, gradient_config, make_shard, random_samples

from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.shard import Shard
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.runtime.errors import UserError

Make = Any


@pytest.fixture
def make(tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path) -> Make:
    def run(
        samples: Path = tiny_samples, adapter: Path = tiny_adapter, batch: int = 4, folder: str = "out", **changes: Any
    ) -> Shard:
        return make_shard(tmp_path / folder, tiny_base, adapter, samples, gradient_config(**changes), batch=batch)

    return run


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """Samples of which the third has a latent that is not a number."""
    samples = random_samples(5)
    samples.latents[2, 0, 0, 0] = math.nan
    samples.save(tmp_path / "spoilt.safetensors")
    return tmp_path / "spoilt.safetensors"


@pytest.mark.fault("a loss that is not a number, in the cache", "sample and timestep are named; nothing is written")
def test_bad_loss_names_sample_and_timestep(make: Make, spoilt: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Sample 'a/2' at timestep 900 has loss nan .*on_bad_loss to skip") as error:
        make(spoilt)
    assert str(error.value).count("\n") == 0
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_infinite_gradient_of_a_finite_loss_is_bad_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = StableDiffusion.objective

    def explode(self: StableDiffusion, latents: torch.Tensor, noise: torch.Tensor, *rest: Any) -> torch.Tensor:
        losses = objective(self, latents, noise, *rest)
        # The slope of a square root at zero is infinite.
        return losses + (losses - losses.detach()).sqrt()

    monkeypatch.setattr(StableDiffusion, "objective", explode)
    with pytest.raises(UserError, match=r"Sample 'a/0' at timestep 900 has loss [\d.]+ and gradient norm (inf|nan)"):
        make()


def test_skipped_rows_are_zero_and_the_others_untouched(
    make: Make, spoilt: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="dmin"):
        shard = make(spoilt, on_bad_loss="skip")
    assert "sample 'a/2' at timestep" in caplog.text
    clean = make(folder="clean")
    for name in ("sketch", "norm", "raw"):
        values, expected = shard.read(name).copy(), clean.read(name).copy()
        assert not values[2].any()
        expected[2] = 0
        assert np.array_equal(values, expected)


def test_zero_gradient(make: Make, tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    # With A = B = 0 no parameter moves the output.
    adapter = build_adapter(tiny_base, tmp_path / "adapter", scale=0.0)
    with pytest.raises(UserError, match=r"Sample 'a/0' at timestep 900 has loss [\d.]+ and gradient norm 0; mend"):
        make(adapter=adapter)
    shard = make(adapter=adapter, on_bad_loss="skip")
    assert not any(shard.read(name).any() for name in shard.names)


def test_cache_dim_above_the_number_of_parameters(make: Make) -> None:
    with pytest.raises(UserError, match="cache_dim 8192 is larger than the 7680 selected parameters"):
        make(cache_dim=8192)


def test_selection_that_matches_nothing(make: Make) -> None:
    with pytest.raises(UserError, match="matches no parameter"):
        make(parameters="regex:does_not_exist")


@pytest.mark.fault("disk too small for a shard", "told before anything is computed")
def test_full_disk_is_told_before_anything_is_computed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(*_: Any) -> None:
        pytest.fail("computed in spite of the full disk")

    monkeypatch.setattr(GradientPass, "compute", compute)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"00000000-00000005\.safetensors' needs .* GiB of disk .* free some space"):
        make()


@pytest.mark.fault(
    "GPU memory full in the gradient cache", "the micro-batch is halved and the job goes on to the same bytes"
)
def test_out_of_memory_halves_the_batch_and_goes_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = make(batch=3, folder="expected")
    sizes: list[int] = []
    compute = GradientPass.compute

    def small_memory(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return compute(self, rows)

    monkeypatch.setattr(GradientPass, "compute", small_memory)
    with caplog.at_level(logging.WARNING, logger="dmin"):
        shard = make(batch=12)
    assert sizes == [12, 6, 3, 3, 3, 3, 3]
    assert "going on with 3 evaluations at a time" in caplog.text
    assert shard.path.read_bytes() == expected.path.read_bytes()


def test_out_of_memory_inside_the_pass_leaves_it_usable(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make(batch=2, folder="expected")
    objective, failed = StableDiffusion.objective, False

    def fail_once(self: StableDiffusion, *inputs: Any) -> torch.Tensor:
        nonlocal failed
        losses = objective(self, *inputs)
        if not failed:
            failed = True
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return losses

    monkeypatch.setattr(StableDiffusion, "objective", fail_once)
    assert make(batch=4).path.read_bytes() == expected.path.read_bytes()


def test_one_evaluation_too_large_for_the_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GradientPass, "compute", never)
    with pytest.raises(UserError, match="One evaluation does not fit into GPU memory"):
        make()
