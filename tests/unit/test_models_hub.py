"""Bases and adapters of the hub that cannot be had: one sentence each, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_refusals import http_error
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU, LORA

from dmin.models import own_weights
from dmin.models.families.stable_diffusion import StableDiffusion
from dmin.models.load import load_family
from dmin.models.own_weights import find_adapter, import_adapter, import_pipeline
from dmin.runtime.errors import UserError

FAULTS = [
    (
        http_error(hub_errors.GatedRepoError, 403),
        "'owner/x' is gated; accept its licence on its hub page, then log in",
    ),
    (http_error(hub_errors.RevisionNotFoundError, 404), "'owner/x' has no revision 'v9'; set revision to a commit"),
    (http_error(hub_errors.RepositoryNotFoundError, 404), "'owner/x' is neither a folder here nor a model on the hub"),
    (hub_errors.LocalEntryNotFoundError("offline"), "the hub cannot be reached and no copy of revision 'v9' is cached"),
]


@pytest.mark.parametrize(("cause", "sentence"), FAULTS)
def test_base_is_told_of(monkeypatch: pytest.MonkeyPatch, cause: Exception, sentence: str) -> None:
    def load(*arguments: Any) -> Any:
        # As diffusers and transformers wrap what the hub raises.
        raise OSError("something long\nover lines") from cause

    monkeypatch.setattr(StableDiffusion, "load_target", load)
    with pytest.raises(UserError) as caught:
        load_family({"family": "stable_diffusion", "path": "owner/x", "revision": "v9"}, CPU, ["denoiser"])
    assert str(caught.value).startswith("Base 'owner/x'") and sentence in str(caught.value)


@pytest.mark.parametrize(("cause", "sentence"), FAULTS)
def test_adapter_is_told_of(monkeypatch: pytest.MonkeyPatch, cause: Exception, sentence: str) -> None:
    def download(*arguments: Any, **options: Any) -> str:
        raise cause

    monkeypatch.setattr(own_weights, "snapshot_download", download)
    with pytest.raises(UserError) as caught:
        find_adapter("owner/x", "v9")
    assert str(caught.value).startswith("Adapter 'owner/x'") and sentence in str(caught.value)


def imported(path: Path, base: Mapping[str, Any], folder: Path, alpha: int | None = None) -> Path:
    """Import an adapter, and return its file."""
    folder.mkdir()
    out = folder / "pytorch_lora_weights.safetensors"
    own = {"path": str(path), "revision": None, "alpha": alpha}
    import_adapter(own, base, out, folder / "model.json")
    return out


def test_adapter_of_either_format_keeps_its_scale(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny_adapter)
    peft = tmp_path / "peft"
    peft.mkdir()
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, peft / "adapter_model.safetensors"
    )
    (peft / "adapter_config.json").write_text(f'{{"r": {LORA["rank"]}, "lora_alpha": {LORA["alpha"]}}}')
    bare = tmp_path / "bare.safetensors"
    save_file({f"unet.{name}": value for name, value in tensors.items()}, bare)
    with pytest.raises(UserError, match="says no alpha; give the one it was trained with"):
        imported(bare, tiny_base, tmp_path / "refused")
    files = [
        imported(tiny_adapter, tiny_base, tmp_path / "file"),
        imported(tiny_adapter.parent, tiny_base, tmp_path / "folder"),
        imported(peft, tiny_base, tmp_path / "from_peft"),
        imported(bare, tiny_base, tmp_path / "told", LORA["alpha"]),
    ]
    assert len({file.read_bytes() for file in files}) == 1
    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(files[0].parent)
    scales = {scale for module in family.denoiser.modules() for scale in getattr(module, "scaling", {}).values()}
    assert scales == {LORA["alpha"] / LORA["rank"]}


def test_adapter_for_another_base_is_refused_by_its_own_name(
    tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    wide = {
        name: torch.cat([value, value], 1) if "lora_A" in name else value
        for name, value in load_file(tiny_adapter).items()
    }
    other = {f"elsewhere.{name}": value for name, value in load_file(tiny_adapter).items()}
    for case, tensors in (("wide", wide), ("other", other)):
        save_file(tensors, tmp_path / f"{case}.safetensors")
        with pytest.raises(UserError, match=rf"Adapter '.*{case}\.safetensors'.*train it on this base"):
            imported(tmp_path / f"{case}.safetensors", tiny_base, tmp_path / case, 8)
        assert list((tmp_path / case).iterdir()) == []


def test_folder_without_adapter_is_refused(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file pytorch_lora_weights\.safetensors or adapter_model\.safetensors"):
        imported(tmp_path, tiny_base, tmp_path / "out")


def test_full_model_is_copied_whole(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "out" / "pipeline"
    weights.parent.mkdir()
    import_pipeline({"path": tiny_base["path"], "revision": None}, tiny_base, weights, weights.parent / "model.json")
    copy, base = (
        load_family({**tiny_base, "path": str(path)}, CPU, ["denoiser"]) for path in (weights, tiny_base["path"])
    )
    assert all(
        torch.equal(value, base.denoiser.state_dict()[name]) for name, value in copy.denoiser.state_dict().items()
    )
    assert sorted(path.name for path in weights.parent.iterdir()) == ["model.json", "pipeline"]
