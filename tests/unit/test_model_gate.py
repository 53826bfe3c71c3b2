"""A stranger's pipeline: read right, or refused in one sentence; nothing of it runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import build_ddpm, build_sd3
from tiny_pipeline import CPU

from dmin.models.load import load_family
from dmin.runtime.errors import UserError

PARTS = ["encoders", "denoiser"]
UNET, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
TEXT = "text_encoder/model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438354725\n"


@pytest.fixture
def base(tiny_base: Mapping[str, Any], tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion to spoil."""
    return Path(shutil.copytree(tiny_base["path"], tmp_path / "base"))


def load(folder: Path, family: str = "stable_diffusion") -> Any:
    """Load all parts of a pipeline."""
    return load_family({"family": family, "path": str(folder), "revision": None}, CPU, PARTS)


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def retensor(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change the tensors of a file."""
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def as_bin(file: str) -> Callable[[Path], None]:
    """Store the weights of a part as torch's pickle alone."""

    def spoil(base: Path) -> None:
        path = base / file
        torch.save(load_file(path), path.with_suffix(".bin" if "text" not in file else ".pt"))
        path.unlink()

    return spoil


def first_without(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave one tensor out."""
    return dict(list(tensors.items())[1:])


def first_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make one value NaN."""
    name = next(iter(tensors))
    return tensors | {name: tensors[name].index_fill(0, torch.tensor([0]), torch.nan)}


def as_float8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Store all values in 8 bits."""
    return {name: value.to(torch.float8_e4m3fn) for name, value in tensors.items()}


def split(base: Path, second: str) -> None:
    """Store the UNet in two shards, the second of which the index calls ``second``."""
    tensors = load_file(base / UNET)
    names = sorted(tensors)
    (base / UNET).unlink()
    files = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"]
    where = {}
    for file, own in zip(files, (names[::2], names[1::2]), strict=True):
        save_file({name: tensors[name] for name in own}, base / "unet" / file, metadata={"format": "pt"})
        where |= dict.fromkeys(own, file if file == files[0] else second)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def elsewhere(base: Path) -> Path:
    """Return a folder that is no part of the base."""
    (base.parent / "elsewhere").mkdir(exist_ok=True)
    return base.parent / "elsewhere"


def shard_outside(base: Path) -> None:
    split(base, "../../elsewhere/diffusion_pytorch_model-00002-of-00002.safetensors")
    file = "diffusion_pytorch_model-00002-of-00002.safetensors"
    (base / "unet" / file).rename(elsewhere(base) / file)


def shard_absolute(base: Path) -> None:
    split(base, str(elsewhere(base) / "x.safetensors"))
    (base / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors").rename(elsewhere(base) / "x.safetensors")


def link_outside(base: Path) -> None:
    (base / UNET).rename(elsewhere(base) / "x.safetensors")
    (base / UNET).symlink_to(elsewhere(base) / "x.safetensors")


def config_link_outside(base: Path) -> None:
    (base / "vae" / "config.json").rename(elsewhere(base) / "config.json")
    (base / "vae" / "config.json").symlink_to(elsewhere(base) / "config.json")


def pipe(base: Path) -> None:
    (base / "vae" / "config.json").unlink()
    os.mkfifo(base / "vae" / "config.json")


def loop(base: Path) -> None:
    (base / "vae" / "config.json").unlink()
    (base / "vae" / "config.json").symlink_to("config.json")


def header_bomb(base: Path) -> None:
    size = 2**26
    with (base / UNET).open("wb") as file:
        file.write(size.to_bytes(8, "little") + b"{")
        file.truncate(8 + size)


def nested_header(base: Path) -> None:
    text = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    (base / UNET).write_bytes(len(text).to_bytes(8, "little") + text)


def twice(base: Path) -> None:
    entry = '"conv_in.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    text = f"{{{entry}, {entry}}}".encode()
    (base / UNET).write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)


def code_in_index(base: Path) -> None:
    (base / "unet" / "evil.py").write_text("raise SystemExit('code of the model ran')")
    (base / "pipeline.py").write_text("raise SystemExit('code of the model ran')")
    rewrite(base / "model_index.json", _class_name=["pipeline", "Evil"])


def adapter_on_text_encoder(base: Path) -> None:
    settings = {"base_model_name_or_path": str(elsewhere(base)), "peft_type": "LORA"}
    (base / "text_encoder" / "adapter_config.json").write_text(json.dumps(settings))


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
            lambda base: retensor(base / TEXT, lambda all: {k: v.repeat(2, *[1] * (v.ndim - 1)) for k, v in all.items()}),
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
        pytest.param(lambda base: shutil.rmtree(base / "vae"), "cannot be loaded|has no weights", id="no vae"),
    ],
)  # fmt: skip
def test_spoilt_pipeline_is_refused_in_one_sentence(base: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(base)
    with pytest.raises(UserError, match=sentence) as caught:
        load(base)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(
            lambda folder: shutil.rmtree(folder) or folder.mkdir(), "is not whole; it needs tokenizer.json",
            marks=pytest.mark.attack("model", "a tokenizer without files", "refused; never an empty one in its place"),
        ),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), "is not whole; it needs", id="one file"),
        pytest.param(
            lambda folder: _vocabulary(folder, {"<|startoftext|>": 0, "<|endoftext|>": 1}), "has an empty vocabulary",
            marks=pytest.mark.attack("model", "a tokenizer with an empty vocabulary", "refused; prompts stay distinct"),
        ),
        pytest.param(
            lambda folder: rewrite(folder / "tokenizer_config.json", model_max_length=77),
            r"says model_max_length 77 and its text encoder takes 2 to 8 tokens", id="too long",
        ),
        pytest.param(
            lambda folder: rewrite(folder / "tokenizer_config.json", model_max_length=10**30),
            "says no model_max_length", id="no length",
        ),
        pytest.param(
            lambda folder: _vocabulary(folder, {**_words(folder), "more": 90_000}),
            "has tokens up to 90000 and its text encoder only 533 embeddings", id="beyond the embeddings",
        ),
        pytest.param(lambda folder: _without_merges(folder), "has words and no merges", id="no merges"),
        pytest.param(
            lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot be loaded", id="torn",
        ),
    ],
)  # fmt: skip
def test_spoilt_tokenizer_is_refused(base: Path, spoil: Callable[[Path], Any], sentence: str) -> None:
    spoil(base / "tokenizer")
    with pytest.raises(UserError, match=sentence) as caught:
        load(base)
    assert "\n" not in str(caught.value)


def _words(folder: Path) -> dict[str, int]:
    return dict(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])


def _vocabulary(folder: Path, words: Mapping[str, int]) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    merges = [pair for pair in stored["model"]["merges"] if "".join(pair) in words and set(pair) <= set(words)]
    stored["model"] |= {"vocab": dict(words), "merges": merges}
    (folder / "tokenizer.json").write_text(json.dumps(stored))


def _without_merges(folder: Path) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    stored["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(stored))


def test_whole_pipelines_load_in_shards_and_from_the_hubs_cache(base: Path, tmp_path: Path) -> None:
    before = load(base).denoiser.state_dict()
    split(base, "diffusion_pytorch_model-00002-of-00002.safetensors")
    # As the hub's client keeps a model: a snapshot of links to blobs.
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(base)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    after = load(snapshot).denoiser.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_unused_files_and_parts_stay_closed(base: Path) -> None:
    (base / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    (base / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_text(POINTER)
    (base / "unet" / "setup.py").write_text("raise SystemExit")
    os.mkfifo(base / "unet" / "pipe")
    rewrite(base / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert load(base).untrained is False


def test_third_part_of_sd3_is_read_as_strictly(tmp_path: Path) -> None:
    folder = tmp_path / "sd3"
    build_sd3(folder, t5=True)
    assert load(folder, "stable_diffusion_3").t5 is not None
    retensor(folder / "text_encoder_3" / "model.safetensors", first_nan)
    with pytest.raises(UserError, match="The text_encoder_3 of .* not finite"):
        load(folder, "stable_diffusion_3")


@pytest.mark.parametrize("weights", [True, False])
def test_ddpm_keeps_its_files_in_folders_or_at_the_top(tmp_path: Path, weights: bool) -> None:
    build_ddpm(tmp_path / "nested", weights=weights)
    flat = Path(shutil.copytree(tmp_path / "nested", tmp_path / "flat"))
    for part in ("unet", "scheduler"):
        for file in (flat / part).iterdir():
            file.rename(flat / file.name)
        (flat / part).rmdir()
    given = {"family": "ddpm", "revision": None}
    parts = ["denoiser", "untrained"]
    one, other = (load_family({**given, "path": str(folder)}, CPU, parts) for folder in (tmp_path / "nested", flat))
    assert one.untrained is other.untrained is not weights
    assert one.latent_shape(16) == other.latent_shape(16) == (3, 16, 16)
    if weights:
        left, right = one.denoiser.state_dict(), other.denoiser.state_dict()
        assert all(torch.equal(left[name], right[name]) for name in left)
    other.save_pipeline(tmp_path / "written")
    assert {path.name for path in (tmp_path / "written").iterdir()} == {"model_index.json", "scheduler", "unet"}


@pytest.mark.attack("model", "a DDPM whose weights are `.bin` alone, to be trained", "refused; never from random ones")
def test_random_weights_are_only_for_a_folder_without_any(tmp_path: Path) -> None:
    entry = build_ddpm(tmp_path / "base", weights=False)
    assert load_family(entry, CPU, ["denoiser", "untrained"]).untrained
    with pytest.raises(UserError, match=r"has no weights of its unet; add them, or have it trained"):
        load_family(entry, CPU, ["denoiser"])
    (tmp_path / "base" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="has its weights in 'diffusion_pytorch_model.bin', a format that can run code"):
        load_family(entry, CPU, ["denoiser", "untrained"])


def old_attention(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name attention as the first releases of diffusers did, whose files are still on the hub."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        new = next((key for key in old if "attentions" in layer and layer.endswith(f".{key}")), None)
        found[f"{layer.removesuffix(new)}{old[new]}.{kind}" if new else name] = value
    return found


def test_names_of_old_releases_are_read_as_they_are_meant(base: Path, tmp_path: Path) -> None:
    entry = build_ddpm(tmp_path / "ddpm")
    before = load_family(entry, CPU, ["denoiser"]).denoiser.state_dict()
    retensor(tmp_path / "ddpm" / UNET, old_attention)
    assert any(".query." in name for name in load_file(tmp_path / "ddpm" / UNET))
    after = load_family(entry, CPU, ["denoiser"]).denoiser.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # As Stable Diffusion 1's own text encoder is stored: with a buffer that later releases do not keep.
    prompts = load(base).encode_prompts(["a red flag"])["prompt_embeds"]
    stored = load_file(base / TEXT)
    prefix = "" if any(name.startswith("text_model.") for name in stored) else "text_model."
    old = {f"{prefix}{name}": value for name, value in stored.items()}
    old["text_model.embeddings.position_ids"] = torch.arange(8)[None]
    save_file(old, base / TEXT, metadata={"format": "pt"})
    assert torch.equal(load(base).encode_prompts(["a red flag"])["prompt_embeds"], prompts)
    # The image half of a whole CLIP is no part of this one.
    save_file(old | {"vision_model.x": torch.ones(2), "logit_scale": torch.ones(1)}, base / TEXT, {"format": "pt"})
    assert torch.equal(load(base).encode_prompts(["a red flag"])["prompt_embeds"], prompts)
