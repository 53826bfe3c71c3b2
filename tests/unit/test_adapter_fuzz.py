"""Adapters at random: each acts as PEFT has it act, or ends in one sentence."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionXLPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn

from dmin.models.adapter_file import ADAPTER_FILE
from dmin.models.adapter_settings import AdapterSettings
from dmin.models.published_adapter import complete_adapter
from dmin.runtime.errors import UserError

BUDGET = settings(max_examples=120, derandomize=True, deadline=None, database=None)
LAYERS = {"down.to_q": (6, 4), "down.to_k": (4, 6), "mid.to_q": (5, 5), "mid.to_out.0": (3, 7)}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)
NUMBER = st.one_of(st.integers(1, 64), st.floats(0.01, 64))
PATTERN = st.sampled_from(["to_q", "mid.to_q", "^mid.to_q", "to_out.0", "down.*", "to_[qk]", "(x", "", "mid|down.to_k"])
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "r": st.one_of(st.just(2), ODD),
        "lora_alpha": st.one_of(NUMBER, NUMBER, ODD),
        "alpha_pattern": st.one_of(st.dictionaries(PATTERN, NUMBER, max_size=3), ODD),
        "rank_pattern": st.one_of(st.dictionaries(PATTERN, st.integers(1, 3), max_size=2), ODD),
        "use_rslora": st.one_of(st.booleans(), ODD),
        "use_dora": st.booleans(),
        "init_lora_weights": st.one_of(st.sampled_from(["gaussian", "pissa", "eva", "olora"]), ODD),
        "bias": st.sampled_from(["none", "all"]),
        "fan_in_fan_out": st.booleans(),
        "modules_to_save": st.one_of(st.none(), st.just(["mid"])),
        "lora_dropout": st.floats(0, 0.9),
        "peft_type": st.sampled_from(["LORA", "LOHA"]),
    },
)
# What some trainer could write.
COHERENT = st.fixed_dictionaries(
    {"lora_alpha": NUMBER},
    optional={
        "alpha_pattern": st.dictionaries(
            st.sampled_from(["to_q", "mid.to_q", "^mid.to_q", "down.*", "x|to_k"]), NUMBER
        ),
        "use_rslora": st.booleans(),
        "fan_in_fan_out": st.booleans(),
        "init_lora_weights": st.sampled_from(["gaussian", "eva", True, False]),
        "lora_dropout": st.floats(0, 0.9),
        "peft_version": st.text(max_size=5),
    },
)
RANKS = st.fixed_dictionaries({layer: st.sampled_from([2, 2, 2, 3]) for layer in LAYERS})
DTYPE = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
PART = st.sampled_from(["", "unet.", "transformer.", "text_encoder.", "base_model.model.", "elsewhere."])


class Toy(nn.Module):
    """A network with layers of the names in LAYERS; its answer is all of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Module()
        self.mid = nn.Module()
        self.down.to_q, self.down.to_k = nn.Linear(6, 4), nn.Linear(4, 6)
        self.mid.to_q, self.mid.to_out = nn.Linear(5, 5), nn.ModuleList([nn.Linear(3, 7)])
        torch.manual_seed(0)
        for value in self.parameters():
            nn.init.normal_(value)

    def forward(self) -> torch.Tensor:
        return torch.cat(
            [self.get_submodule(name)(torch.linspace(-1, 1, width)) for name, (width, _) in LAYERS.items()]
        )


def acting(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what the toy answers once PEFT has put an adapter on it."""
    toy = Toy()
    inject_adapter_in_model(LoraConfig(**config), toy)
    for name, value in toy.named_parameters():
        if "lora_" in name:
            value.data.copy_(tensors[name.replace(".default", "")].float())
    with torch.no_grad():
        return toy.eval()()


def make_tensors(ranks: Mapping[str, int], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = {}
    for layer, (width, height) in LAYERS.items():
        found[f"{layer}.lora_A.weight"] = torch.randn(ranks[layer], width, generator=generator).to(dtype)
        found[f"{layer}.lora_B.weight"] = torch.randn(height, ranks[layer], generator=generator).to(dtype)
    return found


def completed(
    source: Path, alpha: int | None, networks: Any = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Return config and tensors of an adapter once it is completed; None where it was refused in one sentence."""
    from safetensors import safe_open

    out = source.parent / "out" / ADAPTER_FILE
    out.parent.mkdir()
    try:
        complete_adapter(source, alpha, out, networks)
    except UserError as error:
        assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) < 700, error
        assert not out.exists()
        return None
    with safe_open(out, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["lora_adapter_metadata"]), tensors


@pytest.mark.attack("adapter", "settings and ranks at random", "acts as with PEFT, or one sentence")
@BUDGET
@given(
    st.dictionaries(PART, SETTINGS, max_size=2),
    st.one_of(st.none(), SETTINGS),
    RANKS,
    DTYPE,
    st.sampled_from([None, None, 4]),
)
def test_settings_at_random(
    header: dict[str, dict[str, Any]],
    beside: dict[str, Any] | None,
    ranks: dict[str, int],
    dtype: torch.dtype,
    alpha: int | None,
) -> None:
    acts_as_with_peft(header, beside, ranks, dtype, alpha)


@BUDGET
@given(st.sampled_from(["", "unet.", "base_model.model."]), COHERENT, st.booleans(), RANKS, DTYPE)
def test_what_trainers_write_is_applied(
    part: str, given_settings: dict[str, Any], in_header: bool, ranks: dict[str, int], dtype: torch.dtype
) -> None:
    beside = None if in_header else given_settings
    assert acts_as_with_peft({part: given_settings} if in_header else {}, beside, ranks, dtype, None)


def acts_as_with_peft(
    header: dict[str, dict[str, Any]],
    beside: dict[str, Any] | None,
    ranks: dict[str, int],
    dtype: torch.dtype,
    alpha: int | None,
) -> bool:
    """Check an adapter against PEFT and return True, or False where it was refused in one sentence."""
    tensors = make_tensors(ranks, dtype)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "adapter_model.safetensors"
        flat = {f"{part}{key}": value for part, given in header.items() for key, value in given.items()}
        save_file(tensors, source, metadata={"lora_adapter_metadata": json.dumps(flat)} if flat else None)
        if beside is not None:
            (Path(folder) / "adapter_config.json").write_text(json.dumps(beside))
        found = completed(source, alpha)
    if found is None:
        return False
    config, written = found
    assert all(torch.equal(written[name], value) and written[name].dtype == dtype for name, value in tensors.items())
    own = {"", "unet.", "transformer.", "base_model.model."}
    told: dict[str, Any] = dict(beside or {})
    for part, said in header.items():
        told |= said if part in own else {}
    told.setdefault("lora_alpha", None)
    expected = {
        "r": told.get("r") or 2,
        "lora_alpha": told["lora_alpha"] or alpha or 1,
        "rank_pattern": {**(told.get("rank_pattern") or {}), **{f"^{layer}": rank for layer, rank in ranks.items()}},
        "alpha_pattern": told.get("alpha_pattern") or {},
        "use_rslora": bool(told.get("use_rslora")),
        "target_modules": list(LAYERS),
    }
    # What is said of ranks must be what the tensors have, so adding these changes nothing.
    assert torch.allclose(acting(config, written), acting(expected, tensors), rtol=1e-5, atol=1e-5)
    return True


@pytest.mark.attack("adapter", "bytes of a whole adapter cut, flipped or made up", "one sentence, or the same numbers")
@BUDGET
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), max_size=3),
    st.one_of(st.none(), st.binary(max_size=64)),
)
def test_bytes_at_random(keep: int, patches: list[tuple[int, bytes]], instead: bytes | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "adapter.safetensors"
        save_file(make_tensors(dict.fromkeys(LAYERS, 2), torch.float32), source)
        data = bytearray(source.read_bytes())
        for place, patch in patches:
            data[place % len(data) : place % len(data) + len(patch)] = patch
        source.write_bytes(instead if instead is not None else data[: keep % (2 * len(data))])
        found = completed(source, 4)
    if found is not None:
        assert all(value.isfinite().all() for value in found[1].values())
        assert found[0]["lora_alpha"] == 4


PREFIX = ["lora_unet_", "lora_te_", "lora_te2_", "unet.", "diffusion_model.", "lycoris_", ""]
PLACE = [
    "down_to_q", "down.to_q", "mid.to_out.0", "mid_to_out_0", "double_blocks_0_img_attn_qkv", "a.processor.to_q",
    "input_blocks_4_1_proj_in", "output_blocks_9_9_x", "middle_block_7_x", "blocks.0.attn", "single_blocks.999",
]  # fmt: skip
ROLE = [
    ".lora_down.weight", ".lora_up.weight", ".alpha", ".dora_scale", ".lora.down.weight", "_lora.up.weight", ".diff",
    ".lora_A.weight", ".lora_B.default.weight", ".lokr_w1", ".lokr_w2", ".hada_w1_a", ".lora_mid.weight",
]  # fmt: skip
FOREIGN = st.tuples(st.sampled_from(PREFIX), st.sampled_from(PLACE), st.sampled_from(ROLE)).map("".join)


class Networks:
    """The toy as the denoiser of a pipeline, with itself for a text encoder."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.denoiser = pipeline, Toy()
        self.denoiser.config = SimpleNamespace(layers_per_block=2)  # type: ignore[assignment]

    def text_encoder_of(self, part: str) -> Any:
        return self.denoiser if part == "text_encoder" else None


@pytest.mark.attack("adapter", "names of every trainer, mixed at random", "one sentence, or layers of the base alone")
@BUDGET
@given(
    st.dictionaries(FOREIGN, st.sampled_from([(), (1,), (2, 6), (4, 2), (2, 4), (6, 2), (2, 2, 1, 1)]), max_size=5),
    st.sampled_from([StableDiffusionXLPipeline, FluxPipeline]),
    st.booleans(),
)
def test_names_of_trainers_at_random(tensors: dict[str, tuple[int, ...]], pipeline: Any, whole: bool) -> None:
    if whole:
        pair = {"lora_unet_down_to_k.lora_down.weight": (2, 4), "lora_unet_down_to_k.lora_up.weight": (6, 2)}
        tensors = {**tensors, **pair}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "adapter.safetensors"
        save_file({name: torch.ones(shape) for name, shape in tensors.items()}, source)
        found = completed(source, 1, Networks(pipeline))
    if found is not None:
        named = {name.removeprefix("text_encoder.").partition(".lo")[0] for name in found[1]}
        assert named <= LAYERS.keys()


NAME = st.one_of(
    st.sampled_from(["down.to_q.lora_A.weight", "unet.down.to_q.lora_B.weight", "text_encoder.x.lora_A.weight"]),
    st.text(max_size=30),
)
SHAPE = st.lists(st.integers(0, 5), max_size=4)


@pytest.mark.attack("adapter", "names, shapes and kinds of tensors at random", "one sentence")
@BUDGET
@given(
    st.dictionaries(NAME, st.tuples(SHAPE, st.sampled_from([torch.float32, torch.int8, torch.float8_e5m2])), max_size=4)
)
def test_tensors_at_random(tensors: dict[str, tuple[list[int], torch.dtype]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "adapter.safetensors"
        save_file({name: torch.ones(shape).to(dtype) for name, (shape, dtype) in tensors.items()}, source)
        found = completed(source, 4)
    assert found is None or {name.rpartition(".lora_")[0] for name in found[1]} == {"down.to_q"}


@BUDGET
@given(
    st.dictionaries(PATTERN.filter(lambda name: name not in ("", "(x")), NUMBER, max_size=4),
    st.sampled_from(sorted(LAYERS)),
)
def test_patterns_match_as_in_peft(patterns: dict[str, float], layer: str) -> None:
    import re

    from peft.utils.other import get_pattern_key

    compiled = [(re.compile(rf"(.*\.)?({name})$"), value) for name, value in patterns.items()]
    found = AdapterSettings(None, 1.0, [], compiled, False).alpha_of(layer)
    assert found == patterns.get(get_pattern_key(list(patterns), layer), 1.0)
