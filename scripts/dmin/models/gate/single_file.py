"""Parts of a pipeline in one safetensors file, as trainers and collections of checkpoints have them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, load_single_file_checkpoint

from dmin.models.gate.files import require_plain
from dmin.models.gate.header import FLOATS, read_header
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
# How the tensors of the other parts begin; those of CLIP by the part that holds them.
_AUTOENCODER = ("first_stage_model.", "vae.")
_CLIPS = {
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
}


def require_single_file(path: Path) -> frozenset[str]:
    """Return the names of the tensors of a checkpoint in one file.

    Raises:
        UserError: it is one of several shards, another format (a pickle, GGUF), or quantised (fp8, whole numbers).
    """
    if _SHARD.search(path.stem):
        raise UserError(
            f"Base '{shown(path)}' is one shard of several; set path to the folder of the whole pipeline, or merge the "
            "shards into one file."
        )
    require_plain(path.resolve(), path.resolve().parent)
    tensors = read_header(path, "Base").tensors
    whole = next((name for name, (kind, _) in tensors.items() if name.endswith("weight") and kind not in FLOATS), None)
    if whole is not None:
        raise UserError(
            f"Base '{shown(path)}' stores '{shown(whole)}' as {tensors[whole][0]}; convert it to half or single "
            "precision."
        )
    return frozenset(tensors)


def holds(names: frozenset[str], part: str) -> bool:
    """Tell whether a checkpoint with tensors of these names has a part of a pipeline."""
    if part in ("unet", "transformer"):
        return True
    starts = _AUTOENCODER if part == "vae" else _CLIPS.get(part, ())
    return any(name.startswith(start) for name in names for start in starts)


def read_part(file: Path, kind: Any, part: str, config: str, dtype: torch.dtype) -> Any:
    """Return the part of the class ``kind`` that a checkpoint holds.

    Args:
        config: the pipeline, a folder or a model on the hub, whose configs say what is in the file.

    Raises:
        UserError: a tensor of the part is missing.
    """
    here = {"local_files_only": Path(config).is_dir(), "torch_dtype": dtype}
    if part in _CLIPS:
        checkpoint = load_single_file_checkpoint(str(file), local_files_only=True)
        network = create_diffusers_clip_model_from_ldm(kind, checkpoint, subfolder=part, config=config, **here)
    else:
        network = kind.from_single_file(str(file), config=config, subfolder=part, **here)
    # What the file lacks stays without values.
    absent = [name for name, value in network.named_parameters() if value.is_meta]
    if absent:
        raise UserError(
            f"Base '{shown(file)}' lacks {len(absent)} tensors of its {part} (first '{shown(absent[0])}'); set config "
            "to the pipeline that it was made of, or take a whole checkpoint."
        )
    return network
