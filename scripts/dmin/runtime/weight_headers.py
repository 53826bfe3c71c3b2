"""Names and shapes of the tensors in weights on disk, read from the headers of safetensors files alone."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

# Where a pipeline keeps its denoiser; unconditional ones of the hub keep it at the top.
_DENOISERS = ("unet", "transformer", "")
_STEM = "diffusion_pytorch_model"
_ADAPTERS = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
LARGEST_HEADER = 100 * 2**20

Shapes = dict[str, list[int]]


def denoiser_shapes(pipeline: str) -> Shapes | None:
    """Return the tensors of the denoiser of a pipeline folder; None where its weights are not there to be read."""
    for part in _DENOISERS:
        folder = Path(pipeline) / part
        whole = folder / f"{_STEM}.safetensors"
        files = [whole] if _is_file(whole) else sorted(folder.glob(f"{_STEM}-*-of-*.safetensors"))
        if files:
            return _joined(files)
    return None


def adapter_shapes(path: str) -> Shapes | None:
    """Return the tensors of an adapter, a file or the one in a folder; None where it is not there to be read."""
    for file in (Path(path), *(Path(path) / name for name in _ADAPTERS)):
        if _is_file(file):
            return read_shapes(file)
    # Another name counts where it is the only one.
    files = list(Path(path).glob("*.safetensors"))
    return read_shapes(files[0]) if len(files) == 1 and _is_file(files[0]) else None


def read_shapes(path: Path) -> Shapes | None:
    """Return the tensors of a safetensors file; None where it is none, which the job that loads it tells."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size):
                return None
            header: Any = json.loads(file.read(length))
        shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return shapes if all(map(_is_shape, shapes.values())) else None


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(side) is int and 0 <= side < 2**40 for side in shape)


def _joined(files: list[Path]) -> Shapes | None:
    shapes: Shapes = {}
    for file in files:
        part = read_shapes(file)
        if part is None:
            return None
        shapes |= part
    return shapes
