"""The preconditioned loss of a flow: that of the clean latents which the output leads back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from run_config import PROJECT, config
from tiny_families import PROMPTS, build_ddpm, build_sd3

from dmin.models.load import load_family
from dmin.runtime.digests import base_digest
from dmin.runtime.errors import UserError
from dmin.workflow.tables import read_tables

CPU = torch.device("cpu")
TIMESTEPS = torch.tensor([0, 400, 999])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny Stable Diffusion 3."""
    return build_sd3(tmp_path_factory.mktemp("sd3"))


def test_loss_is_the_error_of_the_clean_latents(base: dict[str, Any]) -> None:
    plain, family = (
        load_family({**base, "preconditioned": given}, CPU, ["denoiser", "encoders"]) for given in (False, True)
    )
    conditioning = family.encode_prompts(PROMPTS[:3])
    generator = torch.Generator().manual_seed(0)
    shape = (3, *family.latent_shape(16))
    latents, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    with torch.no_grad():
        noised, times = family.target.noised(latents, noise, TIMESTEPS)
        sigma = (times / 1000).view(-1, 1, 1, 1)
        clean = noised - sigma * family.denoise(noised, times, conditioning)
        found = family.objective(latents, noise, TIMESTEPS, conditioning)
        assert torch.allclose(found, (clean - latents).square().mean((1, 2, 3)), rtol=1e-4)
        assert not torch.allclose(found, plain.objective(latents, noise, TIMESTEPS, conditioning), rtol=0.1)


def test_it_is_another_base_of_the_same_files(base: dict[str, Any]) -> None:
    digests = [base_digest({**base, **given}) for given in ({}, {"preconditioned": False}, {"preconditioned": True})]
    assert digests[0] == digests[1] != digests[2]


def test_families_without_a_flow_refuse_it(tmp_path: Path) -> None:
    given = config(["dmin"])
    given["bases"]["b"]["preconditioned"] = True
    with pytest.raises(
        UserError, match=r"^bases.b.preconditioned is true, which only stable_diffusion_3 can be; leave it out.$"
    ):
        read_tables(given, PROJECT)
    family = load_family({**build_ddpm(tmp_path), "preconditioned": True}, CPU, ["denoiser"])
    with pytest.raises(UserError, match=r"^preconditioned is set for a base whose family predicts no flow"):
        family.objective(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), torch.tensor([5]), {})
