"""Noise policies: who shares a noise with whom, and that nothing but the names decides it."""

from __future__ import annotations

import pytest
import torch

from dmin.gradients.noise import draw_noise

SHAPE = (4, 3, 3)
PAIRS = [(sample, timestep) for sample in ("a/0", "a/0+noise", "b/1") for timestep in (900, 500, 0)]


def _draw(policy: str, pairs: list[tuple[str, int]], seed: int = 1) -> torch.Tensor:
    return draw_noise({"policy": policy, "seed": seed}, pairs, SHAPE)


@pytest.mark.parametrize("policy", ["shared", "per_timestep", "by_id"])
def test_equality_pattern(policy: str) -> None:
    noise = _draw(policy, PAIRS)
    assert noise.shape == (len(PAIRS), *SHAPE) and noise.dtype == torch.float32
    for left, (sample, timestep) in enumerate(PAIRS):
        for right, (other_sample, other_timestep) in enumerate(PAIRS):
            same = {
                "shared": True,
                "per_timestep": timestep == other_timestep,
                "by_id": (sample, timestep) == (other_sample, other_timestep),
            }[policy]
            assert torch.equal(noise[left], noise[right]) is same


@pytest.mark.parametrize("policy", ["shared", "per_timestep", "by_id"])
def test_rows_depend_neither_on_their_batch_nor_on_their_place(policy: str) -> None:
    noise = _draw(policy, PAIRS)
    order = torch.randperm(len(PAIRS), generator=torch.Generator().manual_seed(0)).tolist()
    assert torch.equal(_draw(policy, [PAIRS[place] for place in order]), noise[order])
    for place, pair in enumerate(PAIRS):
        assert torch.equal(_draw(policy, [pair])[0], noise[place])


@pytest.mark.parametrize("policy", ["shared", "per_timestep", "by_id"])
def test_seed_decides_and_global_state_does_not(policy: str) -> None:
    torch.manual_seed(1)
    noise = _draw(policy, PAIRS)
    torch.manual_seed(2)
    assert torch.equal(_draw(policy, PAIRS), noise)
    assert not torch.isclose(_draw(policy, PAIRS, seed=2), noise).any(dim=0).all()


def test_noise_is_standard_normal() -> None:
    noise = draw_noise({"policy": "by_id", "seed": 0}, [("a", 1)], (200, 200))
    # Three standard errors of the mean and of the standard deviation of 40,000 draws.
    assert abs(noise.mean().item()) < 0.015
    assert abs(noise.std().item() - 1) < 0.011
