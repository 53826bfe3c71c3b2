"""A stranger's pipeline: read right, or refused in one sentence; nothing of it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from spoilt_pipelines import (
    POINTER,
    TEXT,
    UNET,
    VAE,
    adapter_on_text_encoder,
    as_bin,
    as_float8,
    code_in_index,
    config_link_outside,
    first_nan,
    first_without,
    header_bomb,
    link_outside,
    load,
    loop,
    nested_header,
    pipe,
    retensor,
    rewrite,
    shard_absolute,
    shard_outside,
    split,
    twice,
)

from dmin.runtime.errors import UserError


@pytest.fixture
def base(tiny_base: Mapping[str, Any], tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion to spoil."""
    return Path(shutil.copytree(tiny_base["path"], tmp_path / "base"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(
            as_bin(UNET), "The unet of .* has its weights in 'diffusion_pytorch_model.bin', a format that can run code",
            marks=pytest.mark.attack("model", "weights of the UNet as `.bin` alone", "refused with the way to convert"),
        ),
        pytest.param(
            as_bin(VAE), "The vae of .* has its weights in 'diffusion_pytorch_model.bin'",
            marks=pytest.mark.attack("model", "weights of the autoencoder as `.bin` alone", "refused, never opened"),
        ),
        pytest.param(
            as_bin(TEXT), "The text_encoder of .* has its weights in 'model.pt'",
            marks=pytest.mark.attack("model", "weights of the text encoder as `.pt` alone", "refused, never opened"),
        ),
        pytest.param(
            lambda base: (base / UNET).unlink(), "Base .* has no weights of its unet; add them",
            marks=pytest.mark.attack("model", "a UNet without weights", "refused; never scored on random ones"),
        ),
        pytest.param(
            lambda base: (base / UNET).rename(base / "unet" / "diffusion_pytorch_model.fp16.safetensors"),
            "has 'diffusion_pytorch_model.fp16.safetensors' and no diffusion_pytorch_model.safetensors; rename it",
            id="variant",
        ),
        pytest.param(
            lambda base: retensor(base / UNET, first_without), "The unet of .* lacks 1 of its tensors",
            marks=pytest.mark.attack("model", "a tensor missing", "refused and named; never filled afresh"),
        ),
        pytest.param(
            lambda base: retensor(base / VAE, first_without), "The vae of .* lacks 1 of its tensors", id="vae lacks"
        ),
        pytest.param(
            lambda base: retensor(base / TEXT, first_without), "The text_encoder of .* lacks 1 of", id="text lacks"
        ),
        pytest.param(
            lambda base: retensor(base / UNET, lambda all: all | {"conv_in.bias": torch.zeros(3)}),
            r"cannot be loaded|has another shape in 1 of its tensors \(first 'conv_in.bias'\)",
            marks=pytest.mark.attack("model", "a tensor of another shape", "refused in one sentence"),
        ),
        pytest.param(
            lambda base: retensor(base / TEXT, lambda all: {name: torch.cat([all[name]] * 2) for name in all}),
            "cannot be loaded|has another shape in", id="text shape",
        ),
        pytest.param(
            lambda base: retensor(base / UNET, lambda all: all | {"mid_block.attentions.9.x": torch.zeros(3)}),
            "has no place for 1 of its tensors",
            marks=pytest.mark.attack("model", "more tensors than the config has places", "refused and named"),
        ),
        pytest.param(
            lambda base: retensor(base / UNET, first_nan), "The unet of .* has values in '.*' that are not finite",
            marks=pytest.mark.attack("model", "NaN in the weights", "refused, the tensor named"),
        ),
        pytest.param(lambda base: retensor(base / VAE, first_nan), "The vae of .* not finite", id="vae nan"),
        pytest.param(lambda base: retensor(base / TEXT, first_nan), "The text_encoder of .* not finite", id="text nan"),
        pytest.param(
            lambda base: retensor(base / UNET, as_float8), "it stores '.*' as F8_E4M3.*convert it to half",
            marks=pytest.mark.attack("model", "weights in 8 bits", "refused by name"),
        ),
        pytest.param(
            lambda base: rewrite(base / "unet" / "config.json", quantization_config={"quant_method": "bitsandbytes"}),
            "the config of unet has quantization_config: it is quantised",
            marks=pytest.mark.attack("model", "a quantised model", "refused by name"),
        ),
        pytest.param(
            shard_outside, "names the shard .*only safetensors files beside it are read",
            marks=pytest.mark.attack("model", "a shard index with `../`", "refused; nothing outside is read"),
        ),
        pytest.param(
            shard_absolute, "names the shard .*only safetensors files beside it are read",
            marks=pytest.mark.attack("model", "a shard index with an absolute path", "refused"),
        ),
        pytest.param(
            lambda base: split(base, "absent.safetensors"), "names the shard .*absent.*which is missing",
            marks=pytest.mark.attack("model", "a shard index that names a missing shard", "refused, the shard named"),
        ),
        pytest.param(
            link_outside, "is a link that leads out of the model's folder",
            marks=pytest.mark.attack("model", "weights as a link out of the folder", "refused, not followed"),
        ),
        pytest.param(config_link_outside, "is a link that leads out of the model's folder", id="config link"),
        pytest.param(
            pipe, "is no regular file",
            marks=pytest.mark.attack("model", "a pipe in the place of a config", "refused at once, never opened"),
        ),
        pytest.param(loop, "config.json' cannot be read", id="loop"),
        pytest.param(
            lambda base: (base / UNET).write_text(POINTER), "is a Git LFS pointer and not the file itself",
            marks=pytest.mark.attack("model", "a Git LFS pointer as weights", "one sentence that says so"),
        ),
        pytest.param(
            lambda base: (base / "vae" / "config.json").write_text(POINTER), "is a Git LFS pointer", id="config pointer"
        ),
        pytest.param(
            header_bomb, "its header takes 64 MiB",
            marks=pytest.mark.attack("model", "a safetensors header of 64 MiB", "refused before it is read"),
        ),
        pytest.param(
            nested_header, "cannot be read",
            marks=pytest.mark.attack("model", "a header nested 200,000 deep", "one sentence"),
        ),
        pytest.param(
            twice, "names a tensor twice",
            marks=pytest.mark.attack("model", "a header that names a tensor twice", "refused"),
        ),
        pytest.param(
            lambda base: (base / UNET).write_bytes((base / UNET).read_bytes()[:5000]), "cannot be (read|loaded)",
            id="torn weights",
        ),
        pytest.param(
            lambda base: (base / "unet" / "config.json").write_text('{"a": '), "config.json' is not whole JSON",
            marks=pytest.mark.attack("model", "a torn config", "refused and named"),
        ),
        pytest.param(
            lambda base: (base / "model_index.json").write_text("[1, 2"), "model_index.json' is not whole JSON",
            id="torn index",
        ),
        pytest.param(
            code_in_index, "names a pipeline of its own code, which is never run",
            marks=pytest.mark.attack("model", "a pipeline class in a Python file of the model", "refused, never run"),
        ),
        pytest.param(
            lambda base: rewrite(base / "model_index.json", unet=["evil", "UNet2DConditionModel"]),
            "takes its unet from 'evil', and only parts of diffusers and transformers are loaded",
            marks=pytest.mark.attack("model", "a part from another library", "refused, never imported"),
        ),
        pytest.param(
            lambda base: rewrite(base / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.Evil"}),
            "the config of text_encoder has auto_map: it asks for code of its own",
            marks=pytest.mark.attack("model", "`auto_map` in a text encoder", "refused, never run"),
        ),
        pytest.param(
            lambda base: rewrite(base / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": "evil.Evil"}),
            "the config of tokenizer has auto_map", id="tokenizer auto_map",
        ),
        pytest.param(
            adapter_on_text_encoder, "puts an adapter on the base itself",
            marks=pytest.mark.attack("model", "an adapter config that names another base", "refused, not followed"),
        ),
        pytest.param(
            lambda base: rewrite(base / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"]),
            "has the part 'text_encoder_2', which stable_diffusion has no use for",
            marks=pytest.mark.attack("model", "a pipeline of another family", "refused, the part named"),
        ),
        pytest.param(
            lambda base: rewrite(base / "unet" / "config.json", _class_name="UNet2DModel"),
            "The unet of .* is UNet2DModel and not UNet2DConditionModel",
            marks=pytest.mark.attack("model", "a network of another class", "refused, both named"),
        ),
        pytest.param(
            lambda base: rewrite(base / "text_encoder" / "config.json", model_type="bert"),
            "The text_encoder of .* is bert and not clip_text_model", id="text class",
        ),
        pytest.param(
            lambda base: rewrite(base / "vae" / "config.json", scaling_factor=0), "has scaling_factor 0", id="scale 0"
        ),
        pytest.param(
            lambda base: rewrite(base / "unet" / "config.json", norm_num_groups="many"), "cannot be loaded", id="type"
        ),
        pytest.param(lambda base: shutil.rmtree(base / "vae"), "has no readable vae", id="no vae"),
    ],
)  # fmt: skip
def test_spoilt_pipeline_is_refused_in_one_sentence(base: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(base)
    with pytest.raises(UserError, match=sentence) as caught:
        load(base)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
