"""A base that asks for what is not given, or whose noise is no schedule, is refused in one sentence when it is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel, UNet2DModel
from spoilt_pipelines import PARTS, TEXT, UNET, first_without, retensor, rewrite, split
from tiny_families import build_ddpm, build_sd3
from tiny_pipeline import CPU
from tiny_transformers import build_flux

from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.runtime.errors import UserError

PROMPTS = ["a red square", "a blue square"]


@pytest.fixture(scope="module")
def bases(tiny_base: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapping[str, Any]]:
    folder = tmp_path_factory.mktemp("bases")
    sd3, t5 = build_sd3(folder / "sd3"), build_sd3(folder / "t5", t5=True)
    flux, ddpm = build_flux(folder / "flux"), build_ddpm(folder / "ddpm")
    return {"sd": tiny_base, "ddpm": ddpm, "sd3": sd3, "t5": t5, "flux": flux}


@pytest.fixture
def copy(bases: dict[str, Mapping[str, Any]], tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    return lambda name: {**bases[name], "path": str(shutil.copytree(bases[name]["path"], tmp_path / "base"))}


def scheduler(**changes: Any) -> Callable[[Path], None]:
    return lambda base: rewrite(base / "scheduler" / "scheduler_config.json", **changes)


def tokenizer(**changes: Any) -> Callable[[Path], None]:
    return lambda base: rewrite(base / "tokenizer" / "tokenizer_config.json", **changes)


def rebuilt(kind: Any, part: str, **changes: Any) -> Callable[[Path], None]:
    """Build a part afresh with another config."""

    def spoil(base: Path) -> None:
        config = dict(kind.load_config(base / part))
        shutil.rmtree(base / part)
        kind.from_config({**config, **changes}).save_pretrained(base / part)

    return spoil


def unet(**changes: Any) -> Callable[[Path], None]:
    return rebuilt(UNet2DConditionModel, "unet", **changes)


def vae(**changes: Any) -> Callable[[Path], None]:
    return rebuilt(AutoencoderKL, "vae", **changes)


def mmdit(**changes: Any) -> Callable[[Path], None]:
    return rebuilt(SD3Transformer2DModel, "transformer", **changes)


def as_bytes(name: str) -> Callable[[Path], None]:
    def whole(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: (value.float() * 100).to(torch.int8) for key, value in tensors.items()}

    return lambda base: retensor(base / name, whole)


def shard_without_a_tensor(base: Path) -> None:
    split(base, "diffusion_pytorch_model-00002-of-00002.safetensors")
    retensor(base / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors", first_without)


@pytest.mark.parametrize(
    ("name", "spoil", "sentence"),
    [
        *(
            pytest.param("sd", scheduler(_class_name=kind), f"is {kind}, which does not belong to this family", id=kind)
            for kind in ("KarrasVeScheduler", "EDMEulerScheduler", "LCMScheduler", "ScoreSdeVeScheduler", "Unheard")
        ),
        ("sd3", scheduler(_class_name="FlowMatchLCMScheduler"), "is FlowMatchLCMScheduler, which does not belong"),
        pytest.param(
            "sd", scheduler(beta_start=float("nan")), "1000 betas from nan to nan; 1000 above 0 and at most 1",
            marks=pytest.mark.attack("model", "NaN in the scheduler's betas", "refused when it is read"),
        ),
        ("sd", scheduler(beta_end=2.0, beta_schedule="linear"), "1000 betas from 0.00085 to 2; 1000 above 0"),
        ("ddpm", scheduler(beta_start=0.0, beta_end=0.0), "1000 betas from 0 to 0; 1000 above 0"),
        ("sd", scheduler(trained_betas=[0.001] * 500), "has 500 betas .*; 1000 above 0"),
        ("ddpm", scheduler(beta_schedule="sigmoid"), r"cannot be sampled by DDIM \(sigmoid is not implemented"),
        ("sd", scheduler(timestep_spacing="weird"), r"cannot be sampled by DDIM \(weird is not supported"),
        ("sd", scheduler(num_train_timesteps="1000"), "has '1000' training timesteps; only 1000"),
        *(("sd3", scheduler(shift=shift), f"has the shift {shift}, by which") for shift in (float("nan"), 0, -3.0)),
        ("sd3", scheduler(invert_sigmas=True), "has invert_sigmas, which images are not sampled by"),
        ("sd3", scheduler(stochastic_sampling=True), "has stochastic_sampling, which images are not"),
        pytest.param(
            "sd", unet(num_class_embeds=10), "has num_class_embeds 10, an input beside latents, time and prompt",
            marks=pytest.mark.attack("model", "a UNet with a further input", "refused, the key named"),
        ),
        ("sd", unet(class_embed_type="timestep"), "has class_embed_type timestep, an input beside"),
        ("sd", unet(time_cond_proj_dim=8), "has time_cond_proj_dim 8, an input beside"),
        (
            "sd",
            unet(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64),
            "has addition_embed_type text_time, an input beside",
        ),
        ("ddpm", rebuilt(UNet2DModel, "unet", num_class_embeds=10), "has num_class_embeds 10, an input beside"),
        ("sd", unet(cross_attention_dim=32), "has cross_attention_dim 32 and its text encoders give 16; take both"),
        pytest.param(
            "sd3", mmdit(joint_attention_dim=8), "has joint_attention_dim 8 and its text encoders give 16",
            marks=pytest.mark.attack("model", "text encoders wider than the denoiser", "refused; nothing is cut off"),
        ),
        ("t5", mmdit(joint_attention_dim=32), "has joint_attention_dim 32 and its text encoders give 24"),
        ("sd3", mmdit(pooled_projection_dim=8), "has pooled_projection_dim 8 and its text encoders give 16"),
        ("sd", vae(in_channels=1, out_channels=1), "has in_channels 1 and out_channels 1, and images have 3"),
        ("sd", vae(out_channels=4), "has in_channels 3 and out_channels 4, and images have 3"),
        ("sd", lambda base: rewrite(base / "text_encoder" / "config.json", use_attention_mask=True), "without a mask"),
        ("sd", tokenizer(model_max_length=8.0), "says model_max_length 8.0 and its text encoder takes 2 to 8"),
        ("sd", tokenizer(model_max_length="8"), "says model_max_length '8' and its text encoder takes 2 to 8"),
        ("sd", tokenizer(pad_token=None), "has no pad_token; set it in tokenizer_config.json"),
        pytest.param(
            "sd", as_bytes(TEXT), "stores '.*weight' as I8; convert it to half or single",
            marks=pytest.mark.attack("model", "weights as whole numbers, their scale lost", "refused by name"),
        ),
        ("sd", as_bytes(UNET), "stores '.*bias' as I8; convert it to half or single"),
        ("sd", shard_without_a_tensor, "lists '.*', which no shard holds; download them again"),
    ],
)  # fmt: skip
def test_base_that_asks_for_more_is_refused(
    copy: Callable[[str], dict[str, Any]], name: str, spoil: Callable[[Path], None], sentence: str
) -> None:
    base = copy(name)
    spoil(Path(base["path"]))
    with pytest.raises(UserError, match=sentence) as caught:
        load_family(base, CPU, PARTS)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def transformer(**changes: Any) -> Callable[[Path], None]:
    return rebuilt(FluxTransformer2DModel, "transformer", **changes)


@pytest.mark.fault(
    "a base of another kind: a UNet for inpainting, FLUX Fill, or one with a further input",
    "refused before its data set is encoded",
)
@pytest.mark.parametrize(
    ("name", "spoil", "sentence"),
    [
        ("sd", unet(in_channels=9), "takes 9 channels and gives 4, and its latents have 4; use a base of one kind"),
        ("sd", unet(num_class_embeds=10), "has num_class_embeds 10, an input beside"),
        ("sd3", mmdit(in_channels=8, out_channels=4), "takes 8 channels and gives 4, and its latents have 4"),
        ("ddpm", rebuilt(UNet2DModel, "unet", out_channels=6), "takes 3 channels and gives 6, and its latents have 3"),
        ("flux", transformer(in_channels=96, out_channels=16), "takes 24 channels and gives 4, and its latents have 4"),
    ],
)
def test_base_of_another_kind_is_refused_before_images_are_encoded(
    copy: Callable[[str], dict[str, Any]], name: str, spoil: Callable[[Path], None], sentence: str
) -> None:
    base = copy(name)
    family = load_family(base, CPU, ["encoders"])
    assert family.latent_channels() == family.latent_shape(16)[0]
    spoil(Path(base["path"]))
    with pytest.raises(UserError, match=sentence):
        load_family(base, CPU, ["encoders"])


def images(family: Family, steps: int) -> Any:
    """Generate from fixed noise."""
    conditioning, nothing = family.encode_prompts(PROMPTS), family.encode_prompts([""])
    noise = torch.randn((2, *family.latent_shape(16)), generator=torch.Generator().manual_seed(0))
    return family.sample(conditioning, nothing, noise, {"steps": steps, "guidance": 2.0})


def test_steps_before_the_schedule_are_refused(copy: Callable[[str], dict[str, Any]]) -> None:
    base = copy("sd")
    scheduler(steps_offset=-5)(Path(base["path"]))
    with pytest.raises(UserError, match="3 sampling steps end at timestep -5, before the schedule's first, 0"):
        images(load_family(base, CPU, PARTS), 3)


def test_both_clips_of_sd3_take_the_length_of_the_first(copy: Callable[[str], dict[str, Any]]) -> None:
    base = copy("sd3")
    before = load_family(base, CPU, PARTS).encode_prompts(PROMPTS)
    rewrite(Path(base["path"]) / "tokenizer_2" / "tokenizer_config.json", model_max_length=4)
    after = load_family(base, CPU, PARTS).encode_prompts(PROMPTS)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    rewrite(Path(base["path"]) / "tokenizer" / "tokenizer_config.json", model_max_length=4)
    assert load_family(base, CPU, PARTS).encode_prompts(PROMPTS)["clip"].shape[1] == 4


def test_ddpm_without_a_size_takes_that_of_the_data(copy: Callable[[str], dict[str, Any]]) -> None:
    base = copy("ddpm")
    config = Path(base["path"]) / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": None}))
    assert load_family(base, CPU, PARTS).latent_shape(32) == (3, 32, 32)
