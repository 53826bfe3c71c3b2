"""Adapters of other trainers act as diffusers loads the same file, and as their trainers' formula has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from foreign_adapters import (
    ATTENTION,
    Tensors,
    brought,
    diffusers_own,
    layers_of,
    matrices,
    merged,
    product,
    sd_scripts,
    written,
)
from PIL import Image
from strange_adapters import answer, refused
from tiny_pipeline import CPU, SIZE
from tiny_transformers import build_flux

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.models.adapter_layers import adapter_parameters
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.queries.generate import generate_images
from dmin.runtime.pace import Pace

CONVOLUTIONS = (*ATTENTION, "conv1", "conv2", "proj_in", "proj_out", "ff.net.2", "conv_shortcut", "time_emb_proj")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
PROMPTS = ["a red flag", "a green sprite"]


def unet(base: Mapping[str, Any]) -> Any:
    return load_family(base, CPU, ["denoiser"]).denoiser


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sd_scripts_acts_as_in_diffusers(tiny_base: Mapping[str, Any], tmp_path: Path, dtype: torch.dtype) -> None:
    pairs = matrices(layers_of(unet(tiny_base), CONVOLUTIONS), dtype=dtype)
    file = written(tmp_path / "kohya.safetensors", sd_scripts(pairs, lambda _: 1.5))
    found = answer(brought(file, tiny_base, tmp_path / "out").denoiser)
    assert (found - merged(tiny_base, {})).abs().max() > 1e-2
    assert (found - answer(diffusers_own(file, tiny_base, StableDiffusionPipeline).unet)).abs().max() < 1e-5
    expected = merged(tiny_base, {name: 1.5 / 4 * product(*pair) for name, pair in pairs.items()})
    assert (found - expected).abs().max() < 1e-5


def test_every_layer_has_its_own_rank_and_alpha(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    pairs = matrices(layers_of(unet(tiny_base), CONVOLUTIONS), lambda number: 1 + number % 5)
    alphas = [0.5, 1.0, 3.75, 8.0, None, 1.0]
    file = written(tmp_path / "kohya.safetensors", sd_scripts(pairs, lambda number: alphas[number % 6]))
    scales = {
        name: (alphas[number % 6] or len(down)) / len(down) for number, (name, (down, _)) in enumerate(pairs.items())
    }
    expected = merged(tiny_base, {name: scales[name] * product(*pair) for name, pair in pairs.items()})
    found = answer(brought(file, tiny_base, tmp_path / "out").denoiser)
    assert (found - expected).abs().max() < 1e-5
    one = merged(tiny_base, {name: product(*pair) for name, pair in pairs.items()})
    assert (found - one).abs().max() > 1e-2


def test_text_encoder_is_applied_when_prompts_are_encoded(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    family = load_family(tiny_base, CPU, ["denoiser", "encoders"])
    pairs = matrices(layers_of(family.denoiser, ATTENTION))
    text = matrices(layers_of(family.text_encoder_of("text_encoder"), TEXT))
    tensors = sd_scripts(pairs, lambda _: 1.0)
    for prefix in ("lora_te_", "lora_te_text_model_"):
        file = written(tmp_path / f"{prefix}.safetensors", tensors | sd_scripts(text, lambda _: 3.0, prefix))
        with_both = brought(file, tiny_base, tmp_path / f"out{prefix}", ["denoiser", "encoders"])
        given = with_both.encode_prompts(PROMPTS)["prompt_embeds"]
        own = diffusers_own(file, tiny_base, StableDiffusionPipeline)
        tokens = own.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            assert (given - own.text_encoder(tokens)[0]).abs().max() < 1e-5
        assert (given - family.encode_prompts(PROMPTS)["prompt_embeds"]).abs().max() > 1e-2
        assert (answer(with_both.denoiser) - answer(own.unet)).abs().max() < 1e-5
        # Its parameters are no part of what is attributed.
        assert not any("lora_" in name for name, value in with_both.denoiser.named_parameters() if "text" in name)


def test_t5_of_sd_scripts_is_the_second_encoder_of_flux(tmp_path: Path) -> None:
    base = build_flux(tmp_path / "flux")
    family = load_family(base, CPU, ["denoiser", "encoders"])
    clip, t5 = (family.text_encoder_of(part) for part in ("text_encoder", "text_encoder_2"))
    layers = layers_of(t5, ("SelfAttention.q", "DenseReluDense.wi", "DenseReluDense.wo"))
    assert len(layers) == 3
    text = matrices(layers)
    tensors = sd_scripts(matrices({"double_blocks_0_img_attn_qkv": (48, 16)}))
    tensors |= sd_scripts(matrices(layers_of(clip, TEXT)), prefix="lora_te1_") | sd_scripts(text, prefix="lora_te3_")
    with_it = brought(written(tmp_path / "x.safetensors", tensors), base, tmp_path / "out", ["denoiser", "encoders"])
    # Alphas are 2 and ranks 4.
    for name, pair in text.items():
        t5.get_submodule(name).weight.data += 0.5 * product(*pair)
    before, expected = (load_family(base, CPU, ["encoders"]), family)
    plain, given, own = (each.encode_prompts(["red", "blue"]) for each in (before, with_it, expected))
    assert (given["t5"] - own["t5"]).abs().max() < 1e-5 < 1e-2 < (given["t5"] - plain["t5"]).abs().max()
    assert (given["pooled"] - plain["pooled"]).abs().max() > 1e-2
    changed = {name.partition(".attn.")[2][:4] for name in adapter_parameters(with_it.denoiser)}
    assert changed == {"to_q", "to_k", "to_v"}


def test_t5_that_is_not_there_is_refused(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    tensors = sd_scripts(matrices(layers_of(unet(tiny_base), ATTENTION)))
    t5 = {"encoder_block_0_layer_0_SelfAttention_q": (torch.ones(4, 24), torch.ones(16, 4))}
    file = written(tmp_path / "x.safetensors", tensors | sd_scripts(t5, prefix="lora_te3_"))
    refused(file, tiny_base, tmp_path / "out", "is no layer of this base's text_encoder_3")


def test_samples_are_encoded_with_the_adapter(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    family = load_family(tiny_base, CPU, ["denoiser", "encoders"])
    text = matrices(layers_of(family.text_encoder_of("text_encoder"), TEXT))
    tensors = sd_scripts(matrices(layers_of(family.denoiser, ATTENTION))) | sd_scripts(text, prefix="lora_te_")
    brought(written(tmp_path / "x.safetensors", tensors), tiny_base, tmp_path / "out")
    image = {"bytes": encode_png(Image.new("RGB", (SIZE, SIZE))), "path": None}
    samples = pd.DataFrame({"id": ["a", "b"], "prompt": PROMPTS, "image": [image] * 2})
    write_samples(samples, tmp_path / "in.parquet")
    adapter = tmp_path / "out" / "pytorch_lora_weights.safetensors"
    encoded = []
    for given in (None, adapter):
        encode_samples(tmp_path / "in.parquet", tiny_base, tmp_path / "e.safetensors", Pace("cpu", 2), given)
        encoded.append(EncodedSamples.load(tmp_path / "e.safetensors"))
    plain, changed = (each.conditioning["prompt_embeds"] for each in encoded)
    assert torch.equal(encoded[0].latents, encoded[1].latents) and (plain - changed).abs().max() > 1e-2
    trained = load_trained(TrainedModel(tiny_base, adapter), CPU, ["encoders", "denoiser"])
    assert (trained.encode_prompts(PROMPTS)["prompt_embeds"] - changed).abs().max() < 1e-5


def test_images_are_generated_with_the_adapter_of_the_text_encoder(
    tiny_base: Mapping[str, Any], tmp_path: Path
) -> None:
    family = load_family(tiny_base, CPU, ["denoiser", "encoders"])
    denoiser = sd_scripts(matrices(layers_of(family.denoiser, ATTENTION)))
    text = sd_scripts(matrices(layers_of(family.text_encoder_of("text_encoder"), TEXT)), prefix="lora_te_")
    queries = pd.DataFrame({"id": ["query/a/0"], "prompt": PROMPTS[:1], "seed": [1]})
    images = []
    for name, tensors in (("with", denoiser | text), ("without", denoiser)):
        brought(written(tmp_path / f"{name}.safetensors", tensors), tiny_base, tmp_path / name)
        model = TrainedModel(tiny_base, tmp_path / name / "pytorch_lora_weights.safetensors")
        sampling = {"steps": 2, "guidance": 3.0, "size": SIZE}
        images.append(generate_images(queries, model, sampling, Pace("cpu", 1))["image"][0]["bytes"])
    assert images[0] != images[1]


def test_adapter_of_a_text_encoder_that_is_not_there_is_refused(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    tensors = {
        f"{part}.{name}.lora_{matrix}.weight": value
        for part in ("unet", "text_encoder_2")
        for name, pair in matrices(layers_of(unet(tiny_base), ["attn1.to_q"])).items()
        for matrix, value in zip("AB", pair, strict=True)
    }
    file = written(tmp_path / "x.safetensors", tensors)
    refused(file, tiny_base, tmp_path, "changes 'text_encoder_2', which this base does not have", 4)


def diffusers_names(pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]], style: str) -> Tensors:
    found: Tensors = {}
    for name, (down, up) in pairs.items():
        if style == "processors":
            block, _, last = name.replace("to_out.0", "to_out").rpartition(".")
            stem = f"unet.{block}.processor.{last}_lora"
        else:
            stem = f"unet.{name}.lora"
        found |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
    return found


@pytest.mark.parametrize("style", ["processors", "lora.down"])
def test_old_diffusers_acts_as_in_diffusers(tiny_base: Mapping[str, Any], tmp_path: Path, style: str) -> None:
    pairs = matrices(layers_of(unet(tiny_base), ATTENTION))
    file = written(tmp_path / "old.safetensors", diffusers_names(pairs, style))
    # diffusers takes the rank for the alpha that is not there.
    found = answer(brought(file, tiny_base, tmp_path / "out", alpha=4).denoiser)
    assert (found - answer(diffusers_own(file, tiny_base, StableDiffusionPipeline).unet)).abs().max() < 1e-5
    assert (found - merged(tiny_base, {})).abs().max() > 1e-2


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_own_format_with_a_text_encoder_acts_as_in_diffusers(
    tiny_base: Mapping[str, Any], tmp_path: Path, prefix: str
) -> None:
    family = load_family(tiny_base, CPU, ["denoiser", "encoders"])
    named = {"unet.": matrices(layers_of(family.denoiser, ATTENTION))}
    layers = layers_of(family.text_encoder_of("text_encoder"), TEXT)
    named[f"text_encoder.{prefix}"] = matrices(
        {name.removeprefix("text_model."): shape for name, shape in layers.items()}
    )
    tensors = {
        f"{part}{name}.lora_{matrix}.weight": value
        for part, pairs in named.items()
        for name, pair in pairs.items()
        for matrix, value in zip("AB", pair, strict=True)
    }
    told = {"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 4, "text_encoder.lora_alpha": 2}
    told |= {"text_encoder.target_modules": list(TEXT), "unet.target_modules": list(ATTENTION)}
    told["text_encoder.alpha_pattern"] = {f"{prefix}encoder.layers.0.self_attn.q_proj": 7}
    file = written(tmp_path / "own.safetensors", tensors, {"lora_adapter_metadata": json.dumps(told)})
    found = brought(file, tiny_base, tmp_path / "out", ["denoiser", "encoders"])
    text = found.text_encoder_of("text_encoder")
    scales = {module.scaling["default"] for module in text.modules() if hasattr(module, "lora_A")}
    assert scales == {2 / 4, 7 / 4}
    own = diffusers_own(file, tiny_base, StableDiffusionPipeline)
    assert (answer(found.denoiser) - answer(own.unet)).abs().max() < 1e-5


def test_layers_of_no_network_are_refused(tiny_base: Mapping[str, Any], tmp_path: Path) -> None:
    pairs = matrices(layers_of(unet(tiny_base), ATTENTION))
    text = {"text_model_encoder_layers_7_mlp_fc1": (torch.ones(4, 16), torch.ones(16, 4))}
    for name, more, sentence in (
        ("deeper", sd_scripts(text, prefix="lora_te_"), "'lora_te_text_model_encoder_layers_7_mlp_fc1', which"),
        ("second", sd_scripts(text, prefix="lora_te2_"), "'lora_te2_text_model_encoder_layers_7_mlp_fc1', which"),
        ("video", sd_scripts({"blocks_0_self_attn_q": (torch.ones(4, 8), torch.ones(8, 4))}), "'lora_unet_blocks_0"),
    ):
        file = written(tmp_path / f"{name}.safetensors", sd_scripts(pairs) | more)
        refused(file, tiny_base, tmp_path / name, sentence)
    refused(
        written(
            tmp_path / "text.safetensors",
            sd_scripts(
                {"text_model_encoder_layers_0_mlp_fc1": (torch.ones(4, 16), torch.ones(64, 4))}, prefix="lora_te_"
            ),
        ),
        tiny_base,
        tmp_path / "t",
        "changes text encoders alone",
    )
