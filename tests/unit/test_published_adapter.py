"""An adapter published without alpha acts, once completed, with the scale it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU, LORA, random_samples

from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.models.published_adapter import complete_adapter, main
from dmin.runtime.errors import UserError


def write_published(folder: Path, adapter: Path, prefix: str) -> Path:
    """Write an adapter as old releases of diffusers did: prefixed names and no metadata."""
    folder.mkdir()
    save_file({prefix + name: value for name, value in load_file(adapter).items()}, folder / adapter.name)
    return folder / adapter.name


def loaded(base: Mapping[str, Any], adapter: Path) -> tuple[Family, torch.Tensor]:
    """Return the family with the adapter, and what its denoiser answers."""
    family = load_family(base, CPU, ["denoiser"])
    family.load_adapter(adapter.parent)
    samples = random_samples(2)
    with torch.no_grad():
        inputs = (samples.latents, torch.tensor([900, 10]), samples.conditioning["prompt_embeds"])
        return family, family.denoiser(*inputs).sample


@pytest.mark.parametrize("prefix", ["transformer.", "unet.", ""])
def test_scale_survives(tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path, prefix: str) -> None:
    published = write_published(tmp_path / "published", tiny_adapter, prefix)
    out = tmp_path / "completed" / tiny_adapter.name
    complete_adapter(published, LORA["alpha"], out)
    family, answer = loaded(tiny_base, out)
    scales = {scale for module in family.denoiser.modules() for scale in getattr(module, "scaling", {}).values()}
    assert scales == {LORA["alpha"] / LORA["rank"]} == {2.0}
    assert torch.equal(answer, loaded(tiny_base, tiny_adapter)[1])
    # Another alpha would show.
    complete_adapter(published, LORA["rank"], out)
    assert not torch.allclose(answer, loaded(tiny_base, out)[1], atol=1e-4)


def test_equal_adapters_give_equal_files(tiny_adapter: Path, tmp_path: Path) -> None:
    files = [tmp_path / name / tiny_adapter.name for name in "ab"]
    for out in files:
        complete_adapter(tiny_adapter, LORA["alpha"], out)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_no_adapter_is_refused(tiny_adapter: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny_adapter)
    name = next(name for name in tensors if "lora_A" in name)
    kohya = {**tensors, "lora_unet_x.alpha": torch.tensor(8.0)}
    ranks = {**tensors, name: torch.cat([tensors[name], tensors[name]])}
    for case, content, sentence in (
        ("kohya", kohya, "has 'lora_unet_x.alpha' and is no LoRA in the diffusers or PEFT format"),
        ("ranks", ranks, r"has shapes \[8, \d+\] and \[\d+, 4\] in '.*', which are not those of one rank"),
    ):
        (tmp_path / case).mkdir()
        save_file(content, tmp_path / case / "adapter.safetensors")
        with pytest.raises(UserError, match=sentence):
            complete_adapter(tmp_path / case / "adapter.safetensors", 8, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match="says alpha 8 and not 4; use the alpha it was trained with"):
        complete_adapter(tiny_adapter, 4, tmp_path / "out.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(tiny_adapter.read_bytes()[:50])
    for path in (torn, tmp_path / "none.safetensors"):
        with pytest.raises(UserError, match="cannot be read"):
            complete_adapter(path, 8, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_command_completes_and_tells_mistakes(
    tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_adapter), "--alpha", "8", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / tiny_adapter.name).exists()
    assert main([str(tiny_adapter), "--alpha", "5", "--out", str(tmp_path / "out")]) == 1
    assert "Error: Adapter" in capsys.readouterr().err
