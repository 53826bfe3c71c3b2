"""A base in one safetensors file, as trainers leave and collections give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import PROMPTS
from tiny_pipeline import CPU
from tiny_transformers import build_flux

from dmin.models.load import load_family
from dmin.runtime.digests import base_digest
from dmin.runtime.errors import UserError

PARTS = ["encoders", "denoiser"]
DENOISER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny FLUX.1 of which the transformer's weights stand in a file of their own."""
    folder = tmp_path_factory.mktemp("flux")
    entry = build_flux(folder / "pipeline")
    weights = load_file(folder / "pipeline" / DENOISER)
    save_file(weights, folder / "flux1-mine.safetensors")
    # What the folder keeps of it must never be read.
    (folder / "pipeline" / DENOISER).unlink()
    return {**entry, "path": str(folder / "flux1-mine.safetensors"), "config": str(folder / "pipeline")}


def test_denoiser_is_that_of_the_file_and_the_rest_of_the_pipeline(base: dict[str, Any]) -> None:
    family = load_family(base, CPU, PARTS)
    stored = load_file(base["path"])
    held = family.denoiser.state_dict()
    assert held.keys() == stored.keys() and all(torch.equal(held[name], stored[name]) for name in stored)
    conditioning = family.encode_prompts(PROMPTS[:1])
    latents = torch.zeros(1, *family.latent_shape(16))
    assert family.objective(latents, latents + 1, torch.tensor([500]), conditioning).isfinite().all()


def test_file_and_configs_make_the_base(base: dict[str, Any], tmp_path: Path) -> None:
    changed = tmp_path / "other.safetensors"
    save_file({name: value + 1 for name, value in load_file(base["path"]).items()}, changed)
    digests = {
        base_digest({**base, **given})
        for given in (
            {},
            {"path": str(changed)},
            {"config": "owner/name"},
            {"precision": "bfloat16"},
            {"guidance": 1.0},
        )
    }
    assert len(digests) == 5
    assert base_digest({**base, "precision": "float32", "guidance": None}) in digests


def _rewritten(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return lambda path: save_file(change(load_file(path)), path)


@pytest.mark.parametrize(
    ("name", "spoil", "config", "sentence"),
    [
        pytest.param(
            "model.safetensors", lambda path: path.write_bytes(b"GGUF" + bytes(60)), True, r"is GGUF\); take the model",
            marks=pytest.mark.attack("model", "GGUF under the name of safetensors", "refused by name"),
        ),
        pytest.param(
            "model.safetensors", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(60)), True,
            "it is a pickle of torch",
            marks=pytest.mark.attack("model", "a single-file base that is a pickle", "refused; never read"),
        ),
        pytest.param(
            "model.safetensors",
            _rewritten(lambda held: {name: value.to(torch.float8_e4m3fn) for name, value in held.items()}),
            True, r"as F8_E4M3\); convert it to half or single", id="fp8",
        ),
        pytest.param(
            "model.safetensors",
            _rewritten(lambda held: {name: (9 * value).to(torch.int8) for name, value in held.items()}),
            True, "as I8; convert it to half or single", id="int8",
        ),
        ("model-00001-of-00002.safetensors", lambda path: None, True, "is one shard of several"),
        ("model.safetensors", lambda path: None, False, "is one file, which says nothing of its configs"),
        pytest.param(
            "model.safetensors", _rewritten(lambda held: dict(list(held.items())[1:])), True,
            "lacks 1 tensors of its transformer|cannot be loaded",
            marks=pytest.mark.attack("model", "a single-file base without a tensor", "refused; never a random one"),
        ),
    ],
)  # fmt: skip
def test_file_that_is_no_whole_base_is_refused(
    base: dict[str, Any], tmp_path: Path, name: str, spoil: Callable[[Path], None], config: bool, sentence: str
) -> None:
    path = tmp_path / name
    save_file(load_file(base["path"]), path)
    spoil(path)
    given = {**base, "path": str(path), "config": base["config"] if config else None}
    with pytest.raises(UserError, match=sentence) as caught:
        load_family(given, CPU, PARTS)
    assert "\n" not in str(caught.value)
