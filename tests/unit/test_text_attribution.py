"""Gradients in an adapter's parts of text encoders: those of autograd, each sample's of its own caption."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from foreign_adapters import brought, layers_of, matrices, written
from PIL import Image
from tiny_families import PROMPTS, SIZE, build_sd3
from tiny_pipeline import CPU, LISSA, build_adapter, build_base, gradient_config
from tiny_transformers import build_flux, build_flux2, build_qwen_image, build_sdxl, build_z_image

from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.gradients import gauss_newton
from dmin.gradients.attributed_networks import AttributedNetworks, attributed_parts
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.gauss_newton import GaussNewton
from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.lissa_cache import LissaPass
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.noise import draw_noise
from dmin.gradients.pilot_scale import pilot_scale
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.shard import Shard
from dmin.models.encoded import EncodedSamples
from dmin.models.encoding import encode_samples
from dmin.models.families.family import Family
from dmin.models.load import TrainedModel, load_family, load_trained
from dmin.models.regions import Regions, box_mask
from dmin.runtime.attributed import WITH_TEXT, check_trained
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "sd": build_base,
    "sdxl": build_sdxl,
    "sd3": lambda folder: build_sd3(folder, t5=True),
    "flux": build_flux,
    "z_image": build_z_image,
    "flux2": build_flux2,
    "qwen_image": build_qwen_image,
}
TARGETS = ("to_q", "to_v", "q_proj", "v_proj", "mlp.fc1", "SelfAttention.q", "mlp.down_proj")
CONFIG = gradient_config(parameters=WITH_TEXT, cache_dim=64)


class Case:
    """A base with an adapter on its denoiser and all text encoders, and three samples encoded with it."""

    def __init__(self, build: Callable[[Path], dict[str, Any]], folder: Path) -> None:
        self.base = build(folder / "base")
        plain = load_family(self.base, CPU, ["denoiser"])
        encoders = [part for part in plain.frozen if part.startswith("text_encoder")]
        networks = {type(plain).part: plain.denoiser} | {part: plain.text_encoder_of(part) for part in encoders}
        tensors = {}
        for part, network in networks.items():
            layers = layers_of(network, TARGETS)
            if len(layers) > 50:
                # The deep text encoder of FLUX.2.
                layers = {name: shape for name, shape in layers.items() if ".3." in name or ".27." in name}
            for layer, (down, up) in matrices(layers).items():
                tensors |= {f"{part}.{layer}.lora_A.weight": down, f"{part}.{layer}.lora_B.weight": up}
        file = written(folder / "mine.safetensors", tensors)
        brought(file, self.base, folder / "model", alpha=4.0)
        self.adapter = folder / "model" / "pytorch_lora_weights.safetensors"
        pixels = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), dtype=np.uint8)
        images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
        table = {"id": [f"a/{row}" for row in range(3)], "prompt": PROMPTS, "image": images}
        write_samples(pd.DataFrame(table), folder / "train.parquet")
        self.samples = folder / "train.safetensors"
        encode_samples(folder / "train.parquet", self.base, self.samples, Pace("cpu", 2), self.adapter)

    @property
    def family(self) -> Family:
        return load_trained(TrainedModel(self.base, self.adapter), CPU, attributed_parts(WITH_TEXT))


@pytest.fixture(scope="module", params=list(BUILDERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(BUILDERS[request.param], tmp_path_factory.mktemp(request.param))


def test_gradients_are_those_of_autograd_for_each_samples_own_caption(case: Case) -> None:
    family, samples = case.family, EncodedSamples.load(case.samples)
    given = GradientPass(family, samples, CONFIG, {"quantity": "loss", "draws": 1})
    rows = [(0, 900), (1, 500), (2, 500), (0, 100)]
    sink = RawSink(given.engine.parameter_count, len(rows), dtype=torch.float64)
    given.differentiate(rows, sink)
    parameters = given.attributed.parameters
    text = [place for place, name in enumerate(parameters) if name.startswith("text_encoder")]
    assert {name.partition(".")[0] for name in list(parameters)[text[0] :]} == set(family.adapted_text())
    for row, (sample, timestep) in enumerate(rows):
        conditioning = family.encode_tokens(family.prompt_tokens([PROMPTS[sample]]))
        noise = draw_noise(CONFIG["noise"], [(samples.ids[sample], timestep)], samples.latents.shape[1:])
        latents = samples.latents[sample : sample + 1]
        loss = family.objective(latents, noise, torch.tensor([timestep]), conditioning)
        found = torch.autograd.grad(loss.sum(), list(parameters.values()))
        expected = [value.flatten().double() for value in found]
        whole = torch.cat(expected)
        assert (sink.gradient[row] - whole).norm() < 1e-4 * whole.norm()
        # The denoiser's part is larger: that of the text encoders is judged by itself.
        start = sum(len(value) for value in expected[: text[0]])
        assert whole[start:].norm() > 0
        assert (sink.gradient[row, start:] - whole[start:]).norm() < 1e-4 * whole[start:].norm()


def test_tensors_that_no_conditioning_depends_on_are_left_out(case: Case) -> None:
    family = case.family
    chosen = AttributedNetworks.select(family, WITH_TEXT)
    adapted = {
        f"{part}.{name}"
        for part, encoder in family.adapted_text().items()
        for name, _ in encoder.named_parameters()
        if "lora_" in name
    }
    unused = adapted - chosen.parameters.keys()
    # Layers behind the hidden states that are read, and those of images.
    behind = {
        "stable_diffusion_xl": "text_encoder.encoder.layers.1.",
        "z_image": "text_encoder.layers.2.",
        "flux2": "text_encoder.model.layers.27.",
        "qwen_image": "text_encoder.model.visual.",
    }.get(family.name, "none")
    assert unused == {name for name in adapted if name.startswith(behind)}
    assert bool(unused) == (behind != "none")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(build_base, tmp_path_factory.mktemp("plain"))


def test_scale_regions_and_answers_read_the_captions_too(
    plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kind = TrainedModel(plain.base, plain.adapter), {"quantity": "loss", "draws": 1}
    scaled = {**CONFIG, "scale": {"kind": "tensor", "pilot": 2, "floor": 0.1, "exponent": 1.0}}
    pilot_scale(plain.samples, model, scaled, kind, Pace("cpu", 4), tmp_path / "scale.json")
    tensors = json.loads((tmp_path / "scale.json").read_text())["tensors"]
    assert any(row["tensor"].startswith("text_encoder.") and row["mean_square"] > 0 for row in tensors)

    names = [f"a/1@{side}" for side in ("left", "right", "whole")]
    boxes = [(0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 1, 1)]
    masks = torch.stack([box_mask(box, 8, 8) for box in boxes])
    Regions(names, ["a/1"] * 3, masks).save(tmp_path / "regions.safetensors")
    shard = tmp_path / "00000000-00000003.safetensors"
    task = ShardTask(plain.samples, 0, 3, shard, shard.with_suffix(".json"), tmp_path / "regions.safetensors")
    cache_gradients(task, model, {**CONFIG, "keep_raw": False}, CacheKind("loss", kind), Pace("cpu", 4))
    found = Shard(shard)
    left, right, whole = found.read("sketch").astype(np.float32) * found.read("norm")[..., None]
    assert np.abs(left + right - whole).max() < 2e-3 * np.abs(whole).max()
    assert found.metadata["P"] == sum(row["size"] for row in tensors)

    monkeypatch.setattr(gauss_newton, "POWER_STEPS", 1)
    family, samples = plain.family, EncodedSamples.load(plain.samples)
    answers = LissaPass(family, samples, CONFIG, {**LISSA, "products": 1}, [500]).compute(samples.rows(0, 2))
    assert torch.isfinite(answers["norm"]).all() and (answers["cosine"] < 1 - 1e-4).all()


def test_curvature_is_that_of_the_text_encoders_too(plain: Case) -> None:
    family, samples = plain.family, EncodedSamples.load(plain.samples)
    chosen = AttributedNetworks.select(family, WITH_TEXT)
    curvature = GaussNewton(chosen, samples, 2, 1)
    vector = torch.randn(1, curvature.parameter_count, generator=torch.Generator().manual_seed(0))
    product = curvature.product(vector, 0, 1)[0]
    output = curvature._output(0)
    step, values = 1e-3, {f"network.{name}": value.detach() for name, value in chosen.parameters.items()}
    moved = curvature._unflatten(vector[0])
    with torch.no_grad():
        ahead, behind = (output({k: v + sign * step * moved[k] for k, v in values.items()}) for sign in (1, -1))
        change = (ahead - behind) / (2 * step)
    # h' G h is the mean square of what h changes, twice.
    assert float(vector[0] @ product) == pytest.approx(2 * float(change.square().mean()), rel=1e-2)
    offsets = PerSampleGradients(chosen.network, chosen.parameters).offsets
    start = next(at for name, at in offsets.items() if name.startswith("text_encoder."))
    assert product[start:].abs().max() > 0


def test_an_adapter_without_such_a_part_is_refused(plain: Case, tmp_path: Path) -> None:
    adapter = build_adapter(plain.base, tmp_path)
    with pytest.raises(UserError, match=r"adapter of model .* changes no text encoder; set it to adapter"):
        check_trained("runs.r.gradients", 64, adapter, WITH_TEXT)
    family = load_trained(TrainedModel(plain.base, adapter), CPU, attributed_parts(WITH_TEXT))
    with pytest.raises(UserError, match="changes no text encoder; set it to adapter"):
        AttributedNetworks.select(family, WITH_TEXT)
    chosen = AttributedNetworks.select(plain.family, WITH_TEXT)
    with pytest.raises(UserError, match="were encoded for a model whose adapter changes no text encoder"):
        chosen.read_of(replace(EncodedSamples.load(plain.samples), tokens={}))
    counted = check_trained("runs.r.gradients", 64, plain.adapter, WITH_TEXT)
    assert counted == sum(value.numel() for value in chosen.parameters.values())
    assert check_trained("runs.r.gradients", 64, plain.adapter, "adapter") < counted
