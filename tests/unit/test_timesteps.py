"""Timestep grids against the golden lists of DMin's published code and against diffusers' own schedulers."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers import DDPMScheduler

from dmin.gradients.timesteps import timestep_grid
from dmin.models.base.denoiser import build_scheduler
from dmin.runtime.errors import UserError
from dmin.settings.timesteps import cubic_positions


def _config(grid: str, count: int = 10, custom: list[int] | None = None) -> dict[str, Any]:
    return {"grid": grid, "count": count, "custom": custom or []}


@pytest.mark.parametrize(
    ("family", "count", "golden"),
    [
        ("stable_diffusion", 10, [998, 992, 973, 936, 875, 784, 657, 488, 271, 0]),
        ("stable_diffusion", 5, [992, 936, 784, 488, 0]),
        ("stable_diffusion", 1, [0]),
        ("ddpm", 10, [999, 998, 991, 972, 935, 874, 783, 656, 487, 270]),
        ("ddpm", 5, [999, 991, 935, 783, 487]),
    ],
)
def test_cubic_grid_is_the_published_one(family: str, count: int, golden: list[int]) -> None:
    assert timestep_grid(_config("dmin_cubic", count), family) == golden


@pytest.mark.parametrize("count", range(1, 21))
def test_stable_diffusion_grid_indexes_the_real_scheduler(count: int) -> None:
    scheduler = build_scheduler()
    scheduler.set_timesteps(1000)
    listed = scheduler.timesteps.tolist()
    assert len(listed) == 1001
    expected = [listed[position] - 1 for position in cubic_positions(count)[1:]]
    assert timestep_grid(_config("dmin_cubic", count), "stable_diffusion") == expected


@pytest.mark.parametrize("count", [1, 2, 5, 8, 10])
def test_ddpm_grid_indexes_the_real_scheduler(count: int) -> None:
    listed = DDPMScheduler(num_train_timesteps=1000).timesteps.tolist()
    expected = [listed[position] for position in cubic_positions(count)[:-1]]
    assert timestep_grid(_config("dmin_cubic", count), "ddpm") == expected


@pytest.mark.parametrize("family", ["stable_diffusion", "ddpm"])
def test_uniform_grid(family: str) -> None:
    assert timestep_grid(_config("uniform", 4), family) == [750, 500, 250, 0]
    assert timestep_grid(_config("uniform", 3), family) == [666, 333, 0]
    assert timestep_grid(_config("uniform", 1000), family) == list(range(999, -1, -1))


def test_custom_grid_is_sorted_from_high_noise() -> None:
    assert timestep_grid(_config("custom", custom=[0, 999, 40]), "stable_diffusion") == [999, 40, 0]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (_config("custom", custom=[10, 1000]), r"custom has 1000; timesteps are 0 to 999\.$"),
        (_config("custom", custom=[10, -1]), r"custom has -1; timesteps are 0 to 999\.$"),
        (_config("custom", custom=[10, 7, 10]), "repeats timestep 10; use"),
        (_config("custom"), "custom is empty; list the timesteps"),
        (_config("dmin_cubic", 50), "grid dmin_cubic with count 50 repeats timestep 999; use a smaller count"),
        (_config("uniform", 1500), "grid uniform with count 1500 repeats timestep"),
    ],
)
def test_unusable_grids_are_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        timestep_grid(config, "stable_diffusion")
    with pytest.raises(UserError, match=sentence):
        timestep_grid(config, "ddpm")


@pytest.mark.parametrize("grid", ["dmin_cubic", "uniform"])
@pytest.mark.parametrize("family", ["stable_diffusion", "ddpm"])
def test_grids_descend_without_repeats_inside_the_range(grid: str, family: str) -> None:
    for count in range(1, 11):
        steps = timestep_grid(_config(grid, count), family)
        assert len(steps) == count
        assert steps == sorted(set(steps), reverse=True)
        assert steps[-1] >= 0 and steps[0] <= 999
