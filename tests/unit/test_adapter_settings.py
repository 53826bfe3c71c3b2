"""What an adapter says of its scale acts as PEFT has it act, or is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from strange_adapters import answer, imported, peft_adapter, refused, write_diffusers, write_peft
from tiny_pipeline import CPU

from dmin.models.load import load_family
from dmin.runtime.errors import UserError

Tensors = dict[str, torch.Tensor]


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
        {"exclude_modules": ["attn2.to_q"]},
        {"target_modules": ["attn1.to_q", "conv1", "proj_in"], "use_rslora": True, "rank_pattern": {"conv1": 2}},
        {"rank_pattern": {"attn1.to_q": 2, "to_q": 6}, "alpha_pattern": {"to_q|to_k": 3, "attn1.to_q": 32}},
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


def test_ranks_that_eva_chose_are_applied(
    tiny_base: Mapping[str, Any], tmp_path: Path, plain: tuple[Tensors, dict[str, Any], torch.Tensor]
) -> None:
    tensors, told, expected = plain
    chosen = {"init_lora_weights": "eva", "eva_config": {"rho": 2.0, "tau": 0.99, "adjust_scaling_factors": True}}
    path = write_peft(tmp_path / "peft", tensors, {**told, **chosen})
    assert (imported(path, tiny_base, tmp_path / "out") - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_read_as_it_is(tiny_base: Mapping[str, Any], tmp_path: Path, dtype: torch.dtype) -> None:
    tensors, told, expected = peft_adapter(tiny_base, dtype)
    path = write_peft(tmp_path / "peft", tensors, told)
    assert (imported(path, tiny_base, tmp_path / "out") - expected).abs().max() < 1e-5


@pytest.mark.attack(
    "adapter", "an alpha in the header that belongs to the text encoder", "the denoiser's own is applied"
)
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


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"use_dora": True}, "says use_dora and has no magnitudes"),
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
        ({"target_modules": ["to_q"]}, "has tensors in '.*to_k', which its target_modules, exclude_modules or"),
        ({"exclude_modules": ["attn2.to_q"]}, "has tensors in '.*attn2.to_q', which its target_modules, exclude_"),
        ({"layers_to_transform": [7], "layers_pattern": "attentions"}, "has tensors in '.*', which its target_modules"),
        ({"lora_alpha": 1e39}, r"says alpha 1e\+39, which must be finite and above 0 in single precision"),
        ({"lora_alpha": 1e-60}, "says alpha 1e-60, which must be finite and above 0 in single precision"),
        ({"lora_alpha": 10**400}, "says alpha 10+…0+, which must be finite"),
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
