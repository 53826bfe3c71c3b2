"""Ways to spoil a pipeline's folder, as torn downloads and ill-meaning strangers do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU

from dmin.models.load import load_family

PARTS = ["encoders", "denoiser"]
UNET, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
TEXT = "text_encoder/model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438354725\n"


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
