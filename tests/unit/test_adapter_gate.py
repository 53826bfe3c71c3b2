"""A stranger's adapter acts as PEFT has it act, or is refused in one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from strange_adapters import answer, peft_adapter, write_diffusers, write_peft
from tiny_pipeline import CPU

from dmin.models.load import load_family
from dmin.models.own_weights import import_adapter
from dmin.runtime.errors import UserError

Tensors = dict[str, torch.Tensor]
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438354\n"


def imported(path: Path, base: Mapping[str, Any], folder: Path, alpha: int | None = None) -> torch.Tensor:
    """Import an adapter and return what the denoiser answers with it."""
    folder.mkdir()
    out = folder / "pytorch_lora_weights.safetensors"
    import_adapter({"path": str(path), "revision": None, "alpha": alpha}, base, out, folder / "model.json")
    family = load_family(base, CPU, ["denoiser"])
    family.load_adapter(folder)
    return answer(family.denoiser)


@pytest.fixture(scope="module")
def plain(tiny_base: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any], torch.Tensor]:
    return peft_adapter(tiny_base)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha_pattern": {"to_q": 2, "attn2.to_k": 32}},
        {"rank_pattern": {"to_v": 2, "^mid_block.*to_out.0": 8}, "alpha_pattern": {"to_v": 1}},
        {"use_rslora": True},
        {"use_rslora": True, "rank_pattern": {"to_k": 9}, "alpha_pattern": {"to_k": 0.5}},
        {"fan_in_fan_out": True},
        {"lora_dropout": 0.5},
        {"init_lora_weights": False},
        {"lora_alpha": 1.5},
        {"target_modules": r".*mid_block.*\.to_[qk]"},
        {"layers_to_transform": [0], "layers_pattern": "attentions"},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True")
def test_adapter_acts_as_with_peft(tiny_base: Mapping[str, Any], tmp_path: Path, settings: dict[str, Any]) -> None:
    tensors, told, expected = peft_adapter(tiny_base, **settings)
    bare = answer(load_family(tiny_base, CPU, ["denoiser"]).denoiser)
    assert (expected - bare).abs().max() > 1e-3
    in_header = {f"unet.{key}": value for key, value in told.items()}
    for number, path in enumerate(
        [
            write_peft(tmp_path / "peft", tensors, told),
            write_diffusers(tmp_path / "diffusers" / "adapter.safetensors", tensors, in_header),
        ]
    ):
        assert (imported(path, tiny_base, tmp_path / f"out{number}") - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_read_as_it_is(tiny_base: Mapping[str, Any], tmp_path: Path, dtype: torch.dtype) -> None:
    tensors, told, expected = peft_adapter(tiny_base, dtype)
    path = write_peft(tmp_path / "peft", tensors, told)
    assert (imported(path, tiny_base, tmp_path / "out") - expected).abs().max() < 1e-5


@pytest.mark.attack("adapter", "an alpha in the header that belongs to the text encoder", "the denoiser's own is applied")
def test_alpha_of_another_part_is_not_the_denoisers(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    tensors, _, expected = plain
    other = {"text_encoder.r": 16, "text_encoder.lora_alpha": 64, "text_encoder.use_rslora": True}
    both = write_diffusers(tmp_path / "both.safetensors", tensors, {**other, "unet.r": 4, "unet.lora_alpha": 8})
    assert (imported(both, tiny_base, tmp_path / "out") - expected).abs().max() < 1e-5
    alone = write_diffusers(tmp_path / "alone.safetensors", tensors, other)
    with pytest.raises(UserError, match="says no alpha; give the one it was trained with"):
        imported(alone, tiny_base, tmp_path / "refused")
    assert (imported(alone, tiny_base, tmp_path / "told", 8) - expected).abs().max() < 1e-5


def kohya(tensors: Tensors) -> Tensors:
    """Name the tensors as sd-scripts does."""
    names = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}
    found = {}
    for name, value in tensors.items():
        part = next(part for part in names if name.endswith(part))
        found[f"lora_unet_{name.removesuffix(part).replace('.', '_')}{names[part]}"] = value
    return found


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): value for name, value in tensors.items()}


def added(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.ones(shape)}


def replaced(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {f"{Q}.{part}.weight": change(tensors[f"{Q}.{part}.weight"]).contiguous()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(kohya, r"it looks like sd-scripts \(kohya\)", id="kohya"),
        pytest.param(
            renamed(".lora_A.weight", ".processor.to_q_lora.down.weight"), "looks like the attention processors of old",
            id="processors",
        ),
        pytest.param(renamed("lora_A", "lora.down"), "looks like diffusers before PEFT", id="before PEFT"),
        pytest.param(renamed("lora_A.weight", "hada_w1_a"), "looks like LyCORIS or another kind", id="LoHa"),
        pytest.param(renamed("lora_A.weight", "lokr_w1"), "looks like LyCORIS or another kind", id="LoKr"),
        pytest.param(renamed("lora_A.weight", "lora_A.default.weight"), "PEFT's modules in memory", id="in memory"),
        pytest.param(
            added(f"{Q}.lora_magnitude_vector", 16), "looks like DoRA, whose magnitudes are not supported",
            marks=pytest.mark.attack("adapter", "DoRA's magnitude vectors", "refused by name"),
        ),
        pytest.param(added(f"{Q}.lora_B.bias", 16), r"a bias of its own \(lora_bias\)", id="lora_bias"),
        pytest.param(added("conv_in.modules_to_save.weight", 3), "modules_to_save", id="whole layers"),
        pytest.param(added(f"{Q}.alpha"), "alpha' and is no LoRA", id="alpha tensors"),
        pytest.param(added("conv_in.weight", 3), "'unet.conv_in.weight' and is no LoRA", id="whole network"),
        pytest.param(
            lambda tensors: tensors | {f"text_encoder.text_model.{k}": v + 0 for k, v in tensors.items()},
            r"changes the text encoder too \('text_encoder\.text_model",
            marks=pytest.mark.attack("adapter", "parts for the text encoder beside the UNet's", "one short sentence"),
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
            replaced("lora_B", lambda value: value.index_fill(0, torch.tensor([0]), torch.nan)), "'.*' that are not finite",
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
    prefix = "" if change is kohya else "unet."
    changed = change(dict(plain[0]))
    prefixed = {name if name.startswith("text_encoder.") else f"{prefix}{name}": v for name, v in changed.items()}
    path = write_diffusers(tmp_path / "adapter.safetensors", prefixed, settings, prefix="")
    refused(path, tiny_base, tmp_path, sentence)


def refused(path: Path, base: Mapping[str, Any], folder: Path, sentence: str, alpha: int | None = None) -> None:
    """Import an adapter that must be refused in one sentence, with nothing left behind."""
    with pytest.raises(UserError, match=sentence) as caught:
        imported(path, base, folder / "out", alpha)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 450
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"use_dora": True}, "says use_dora True, which is not supported"),
        ({"lora_bias": True}, "says lora_bias True, which is not supported"),
        ({"bias": "all"}, "says bias all, which is not supported"),
        ({"modules_to_save": ["conv_in"]}, "says modules_to_save .*conv_in"),
        ({"layer_replication": [[0, 1]]}, "says layer_replication"),
        ({"target_parameters": ["x"]}, "says target_parameters"),
        ({"trainable_token_indices": [1]}, "says trainable_token_indices"),
        ({"use_of_tomorrow": 1}, "says use_of_tomorrow 1, which is not supported"),
        ({"init_lora_weights": "pissa"}, "says init_lora_weights pissa, which changed the base"),
        ({"init_lora_weights": "pissa_niter_4"}, "says init_lora_weights pissa_niter_4, which changed"),
        ({"init_lora_weights": "olora"}, "says init_lora_weights olora"),
        ({"init_lora_weights": "loftq"}, "says init_lora_weights loftq"),
        ({"init_lora_weights": "corda"}, "says init_lora_weights corda"),
        ({"init_lora_weights": "lora_ga"}, "says init_lora_weights lora_ga"),
        ({"init_lora_weights": ["x"]}, "says init_lora_weights"),
        ({"use_rslora": "no"}, "says use_rslora no, not true or false"),
        ({"peft_type": "LOHA"}, "is of the kind LOHA and not LORA"),
        ({"lora_alpha": 0}, "says alpha 0, which must be finite and above 0"),
        ({"lora_alpha": -8}, "says alpha -8, which must be finite"),
        ({"lora_alpha": float("nan")}, "says alpha nan, which must be finite"),
        ({"lora_alpha": float("inf")}, "says alpha inf, which must be finite"),
        ({"lora_alpha": "8"}, "says alpha 8, which must be"),
        ({"lora_alpha": True}, "says alpha True, which must be"),
        ({"lora_alpha": None}, "says no alpha; give"),
        ({"r": 0}, "says rank 0"),
        ({"r": 2.5}, "says rank 2.5"),
        ({"r": 8}, "says rank 8 and has 4"),
        ({"rank_pattern": {"to_q": 8}}, "says rank 8 and has 4 in '.*to_q'"),
        ({"rank_pattern": 4}, "says rank_pattern 4, which is no table"),
        ({"alpha_pattern": {"to_q": float("nan")}}, "says to_q nan, which must be finite"),
        ({"alpha_pattern": {"(to": 4}}, r"has '\(to' in alpha_pattern; name its layers"),
        ({"alpha_pattern": {"(a+)+$": 4}}, r"in alpha_pattern; name its layers"),
        ({"alpha_pattern": {"[": 4}}, r"in alpha_pattern; name its layers"),
        ({"alpha_pattern": {"x" * 500: 4}}, r"in alpha_pattern; name its layers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_applied_are_refused(
    tiny_base: Mapping[str, Any],
    tmp_path: Path,
    plain: tuple[Tensors, dict[str, Any], torch.Tensor],
    settings: dict[str, Any],
    sentence: str,
) -> None:
    tensors, told, _ = plain
    refused(write_peft(tmp_path / "peft", tensors, {**told, **settings}), tiny_base, tmp_path, sentence)
    header = {f"unet.{key}": value for key, value in {**told, **settings}.items()}
    (tmp_path / "out").rmdir()
    refused(write_diffusers(tmp_path / "a" / "x.safetensors", tensors, header), tiny_base, tmp_path, sentence)


@pytest.mark.attack("adapter", "an alpha that is NaN, infinite, 0 or negative", "refused before it scales anything")
@pytest.mark.parametrize("alpha", ["NaN", "Infinity", "-Infinity", "0", "-1", "1e999", '"eight"', "[8]", "{}"])
def test_alpha_is_a_number_above_zero(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor], alpha: str
) -> None:
    path = write_peft(tmp_path / "peft", plain[0], {})
    (path / "adapter_config.json").write_text(f'{{"r": 4, "lora_alpha": {alpha}}}')
    refused(path, tiny_base, tmp_path, "which must be finite and above 0")


@pytest.mark.attack("adapter", "a pattern of layers that takes for ever to match", "refused before it is matched")
def test_pattern_that_explodes_is_refused(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    for number, pattern in enumerate((r"(\w+\.?)+!", ".*.*.*.*.*!", "(a|a)*b")):
        path = write_peft(tmp_path / str(number), plain[0], {"r": 4, "lora_alpha": 8, "alpha_pattern": {pattern: 1}})
        refused(path, tiny_base, path, "in alpha_pattern; name its layers in full")


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
        pytest.param(header_only(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}'), "cannot be read", id="negative"),
        pytest.param(header_only(b'{"__metadata__": {"a": 1}}'), "cannot be read", id="metadata"),
        pytest.param(header_only(b'"text"'), "cannot be read", id="text"),
        pytest.param(header_only(b'\xff\xfe{}'), "cannot be read", id="bytes"),
        pytest.param(
            header_only(b'{"unet.x.lora_A.weight": {"dtype": "F32", "shape": [4, 1099511627776], "data_offsets": [0, 16]}}')
            + bytes(16), "has 'x.lora_A.weight' and no 'x.lora_B.weight'|cannot be read", id="huge shape",
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
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    refused(pickled, tiny_base, pickled, "'adapter_model.bin' can run code and is never read")


def test_header_and_file_beside_it_must_agree(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    tensors, told, expected = plain
    header = {"r": 4, "lora_alpha": 8}
    path = write_diffusers(tmp_path / "both" / "x.safetensors", tensors, header, prefix="")
    (path.parent / "adapter_config.json").write_text(json.dumps(told))
    assert (imported(path, tiny_base, tmp_path / "agree") - expected).abs().max() < 1e-5
    (path.parent / "adapter_config.json").write_text(json.dumps({**told, "lora_alpha": 16}))
    refused(path, tiny_base, path.parent, "says lora_alpha 8 in its header and 16 in adapter_config.json")
    (path.parent / "out").rmdir()
    (path.parent / "adapter_config.json").write_text('{"r": ')
    refused(path, tiny_base, path.parent, "adapter_config.json' is not whole JSON")
    (path.parent / "out").rmdir()
    twice = write_diffusers(tmp_path / "twice" / "x.safetensors", tensors, {**header, "unet.lora_alpha": 4})
    refused(twice, tiny_base, twice.parent, "lora_alpha is said twice")
    torn = tmp_path / "torn" / "x.safetensors"
    torn.parent.mkdir()
    save_file(dict(tensors), torn, metadata={"lora_adapter_metadata": "{"})
    refused(torn, tiny_base, torn.parent, "has a torn header")
