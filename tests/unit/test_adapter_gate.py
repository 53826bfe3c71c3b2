"""A stranger's adapter acts as PEFT has it act, or is refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from strange_adapters import imported, peft_adapter, refused, write_diffusers, write_peft

Tensors = dict[str, torch.Tensor]
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438354\n"


@pytest.fixture(scope="module")
def plain(tiny_base: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any], torch.Tensor]:
    return peft_adapter(tiny_base)


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): value for name, value in tensors.items()}


def added(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.ones(shape)}


def replaced(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {f"{Q}.{part}.weight": change(tensors[f"{Q}.{part}.weight"]).contiguous()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(renamed("lora_A", "lora.down"), "and '.*to_k', one layer; keep one of them", id="two names"),
        pytest.param(renamed("lora_A.weight", "hada_w1_a"), r"mixes LoRA, DoRA, LoKr and LoHa \(hada, lora", id="LoHa"),
        pytest.param(renamed("lora_A.weight", "lokr_w1"), r"mixes LoRA, DoRA, LoKr and LoHa \(lokr, lora", id="LoKr"),
        pytest.param(renamed("lora_A.weight", "lora_mid.weight"), "which is a convolution in three factors", id="core"),
        pytest.param(renamed("lora_A.weight", "oft_blocks"), "which is another kind than LoRA, DoRA, LoKr", id="OFT"),
        pytest.param(added(f"{Q}.diff", 16), "which is whole changes of layers beside it", id="whole change"),
        pytest.param(added("a_1000000000_b.lora_up.weight", 4), "which is no matrix of a LoRA", id="a large number"),
        pytest.param(
            added(f"{Q}.lora_magnitude_vector", 16), r"has magnitudes \(DoRA\) in '.*to_q' and not in all layers",
            marks=pytest.mark.attack("adapter", "DoRA's magnitudes in one layer alone", "refused, the layer named"),
        ),
        pytest.param(added(f"{Q}.lora_B.bias", 16), r"a bias of its own \(lora_bias\)", id="lora_bias"),
        pytest.param(added("conv_in.modules_to_save.weight", 3), "modules_to_save", id="whole layers"),
        pytest.param(
            added(f"{Q}.alpha"), "has alpha 1 in '.*to_q' and says 8 of it",
            marks=pytest.mark.attack("adapter", "two alphas of one layer, in its header and its tensors", "refused"),
        ),
        pytest.param(added("conv_in.weight", 3), "'unet.conv_in.weight', which is no matrix of a", id="whole network"),
        pytest.param(
            lambda tensors: tensors | {f"text_encoder.text_model.{k}": v + 0 for k, v in tensors.items()},
            "says no alpha; give the one", id="text encoder without alpha",
        ),
        pytest.param(lambda tensors: {}, "has no tensor", id="empty"),
        pytest.param(
            lambda tensors: {name: value for name, value in tensors.items() if name != f"{Q}.lora_B.weight"},
            "has '.*to_q.lora_A.weight' and no '.*to_q.lora_B.weight'", id="half",
        ),
        pytest.param(
            replaced("lora_A", lambda value: value[:2]), "which are not those of one rank",
            marks=pytest.mark.attack("adapter", "two tensors of different rank in a layer", "refused, the layer named"),
        ),
        pytest.param(
            lambda tensors: {
                name: value[:2] if "lora_A" in name else value[:, :2].contiguous() for name, value in tensors.items()
            },
            "says rank 4 and has 2", id="other rank",
        ),
        pytest.param(
            lambda tensors: {name: value[:0] if "lora_A" in name else value[:, :0] for name, value in tensors.items()},
            "which are not those of one rank",
            marks=pytest.mark.attack("adapter", "rank 0", "refused, the layer named"),
        ),
        pytest.param(replaced("lora_A", lambda value: value[..., None]), "not those of one rank", id="3 dimensions"),
        pytest.param(
            replaced("lora_B", lambda value: value.index_fill(0, torch.tensor([0]), torch.nan)), "that are not finite",
            marks=pytest.mark.attack("adapter", "NaN in a tensor", "refused, the tensor named"),
        ),
        pytest.param(
            replaced("lora_B", lambda value: value.double() * 1e300), "that are not finite", id="beyond float32"
        ),
        pytest.param(
            replaced("lora_A", lambda value: value.to(torch.float8_e4m3fn)), "as F8_E4M3.*convert it to half",
            marks=pytest.mark.attack("adapter", "a tensor in 8 bits", "refused by name"),
        ),
        pytest.param(replaced("lora_A", lambda value: value.to(torch.int32)), "as I32; convert it", id="integers"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_applied_are_refused(
    tiny_base: Mapping[str, Any],
    tmp_path: Path,
    plain: tuple[Tensors, dict[str, Any], torch.Tensor],
    change: Callable[[Tensors], Tensors],
    sentence: str,
) -> None:
    settings = {"unet.r": 4, "unet.lora_alpha": 8}
    changed = change(dict(plain[0]))
    prefixed = {name if name.startswith("text_encoder.") else f"unet.{name}": v for name, v in changed.items()}
    path = write_diffusers(tmp_path / "adapter.safetensors", prefixed, settings, prefix="")
    refused(path, tiny_base, tmp_path, sentence)


@pytest.mark.attack("adapter", "an adapter of a base of the same family and other widths", "refused, the layer named")
def test_adapter_of_another_width_is_refused(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    wider = {name: torch.cat([value] * 2, 1 if "lora_A" in name else 0) for name, value in plain[0].items()}
    sentence = r"the denoiser differ in '.*attn1.to_k.lora_A.weight': it is \[4, 64\] and the layer's width 32"
    refused(write_peft(tmp_path / "peft", wider, plain[1]), tiny_base, tmp_path, sentence)


@pytest.mark.parametrize("prefix", ["model.", "first."])
def test_names_of_no_layer_are_refused(
    tiny_base: Mapping[str, Any],
    tmp_path: Path,
    plain: tuple[Tensors, dict[str, Any], torch.Tensor],
    prefix: str,
) -> None:
    path = write_diffusers(tmp_path / "x.safetensors", plain[0], {"unet.r": 4, "unet.lora_alpha": 8}, prefix)
    refused(path, tiny_base, tmp_path, rf"differ in '{prefix}down_blocks\..*', whose layer the denoiser does not have")


def header_only(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(
            b"", r"it is empty\); download it again",
            marks=pytest.mark.attack("adapter", "an empty file", "one sentence that says so"),
        ),
        pytest.param(
            POINTER.encode(), "is a Git LFS pointer and not the file itself",
            marks=pytest.mark.attack("adapter", "a Git LFS pointer", "one sentence that says so"),
        ),
        pytest.param(
            b"PK\x03\x04" + bytes(200), "is a pickle of torch, which is never read because it can run code",
            marks=pytest.mark.attack("adapter", "a pickle under the name of safetensors", "refused, never opened"),
        ),
        pytest.param(b"\x80\x02}q\x00." + bytes(90), "is a pickle, which is never read", id="old pickle"),
        pytest.param(b"<!DOCTYPE html><html></html>", r"is a web page\); download the file itself", id="web page"),
        pytest.param(
            header_only(b"{}", 2**62), "is cut short, or no safetensors file",
            marks=pytest.mark.attack("adapter", "a header of 4 EiB", "refused before it is read"),
        ),
        pytest.param(
            header_only(b"[" * 100_000), "cannot be read",
            marks=pytest.mark.attack("adapter", "a header nested 100,000 deep", "one sentence"),
        ),
        pytest.param(header_only(b'{"a": 1}'), "cannot be read", id="no entry"),
        pytest.param(header_only(b'{"a": {"dtype": "F32", "shape": [-1]}}'), "cannot be read", id="negative"),
        pytest.param(header_only(b'{"__metadata__": {"a": 1}}'), "cannot be read", id="metadata"),
        pytest.param(header_only(b'"text"'), "cannot be read", id="text"),
        pytest.param(header_only(b'\xff\xfe{}'), "cannot be read", id="bytes"),
        pytest.param(
            header_only(b'{"x.lora_A.weight": {"dtype": "F32", "shape": [4, 1099511627776], "data_offsets": [0, 16]}}'),
            "has 'x.lora_A.weight' and no 'x.lora_B.weight'", id="huge shape",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_adapter_are_refused(
    tiny_base: Mapping[str, Any], tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(content)
    refused(path, tiny_base, tmp_path, sentence, 8)


@pytest.mark.attack("adapter", "an adapter folder with a link out of it", "refused, not followed")
def test_folder_of_an_adapter_holds_regular_files_of_its_own(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    whole = write_peft(tmp_path / "whole", plain[0], plain[1])
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        folder = write_peft(tmp_path / f"linked {file}", plain[0], plain[1])
        (folder / file).unlink()
        (folder / file).symlink_to(whole / file)
        refused(folder, tiny_base, folder, "is a link that leads out of the model's folder")
    # The user's own path may be a link: it is named in the config.
    (tmp_path / "link.safetensors").symlink_to(whole / "adapter_model.safetensors")
    assert imported(tmp_path / "link.safetensors", tiny_base, tmp_path / "through", 8).isfinite().all()
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", tiny_base, tmp_path, "is no regular file", 8)
    both = write_peft(tmp_path / "both", plain[0], plain[1])
    write_diffusers(both / "pytorch_lora_weights.safetensors", plain[0], {})
    refused(both, tiny_base, both, "has both pytorch_lora_weights.safetensors and adapter_model.safetensors")
    named = tmp_path / "named"
    write_diffusers(named / "my fox.safetensors", plain[0], {"unet.r": 4, "unet.lora_alpha": 8})
    assert (imported(named, tiny_base, tmp_path / "one") - plain[2]).abs().max() < 1e-5
    write_diffusers(named / "my fox-000010.safetensors", plain[0], {})
    refused(named, tiny_base, tmp_path / "two", "has both my fox-000010.safetensors and my fox.safetensors")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    refused(pickled, tiny_base, pickled, "'adapter_model.bin' can run code and is never read")
