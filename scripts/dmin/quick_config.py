"""The config of a question that names images, an adapter, a base and queries, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmin.catalogue.families import FAMILIES
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# The one data set, base, model and run of such a config.
RUN = "own"
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_METADATA = "metadata.jsonl"
_CAPTIONS = ("prompt", "text", "caption")
_SIDECARS = (".txt", ".caption")
_TOP = 50
_K = (5, 10, 50)
# Of the pipelines whose side no config file tells, that which their authors trained at.
_SIZE = 512
# All but one image in a hundred are ranked; a test set without a row is refused.
TRAIN_FRACTION = 0.99


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        images: folder of the training images.
        adapter: LoRA file or folder.
        base: folder or hub name of the pipeline that it was trained on.
        queries: folder of generated images, or a text file with a prompt on each line.
    """

    images: Path
    adapter: Path
    base: str
    queries: Path


def quick_config(question: Question, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the config of a question, ``changes`` laid over it; paths are absolute.

    Raises:
        UserError: a path leads nowhere, a folder holds no images, or the family of the base is not known.
    """
    base = question.base
    local = Path(base).is_dir()
    rows = _count(question.images, "--images")
    train = max(1, int(rows * TRAIN_FRACTION))
    top = min(_TOP, train)
    if not question.adapter.exists():
        raise UserError(f"--adapter is '{shown(str(question.adapter))}', which does not exist; correct it.")
    config: dict[str, Any] = {
        "datasets": {
            RUN: {
                "size": _size(Path(base)) if local else _SIZE,
                "noise": {"fraction": 0},
                "train_fraction": TRAIN_FRACTION,
                "sources": [{"name": "images", **_source(question.images, rows)}],
            }
        },
        "bases": {RUN: {"family": _family(base), "path": str(Path(base).absolute()) if local else base}},
        "models": {RUN: {"dataset": RUN, "base": RUN, "weights": {"path": str(question.adapter.absolute())}}},
        "runs": {
            RUN: {
                "model": RUN,
                "queries": _queries(question.queries),
                "gradients": {"parameters": "adapter"},
                "influence": {"methods": ["dmin"], "top_k": top},
                "evaluation": {"k": [k for k in _K if k <= top] or [top]},
            }
        },
    }
    return _laid_over(config, changes or {})


def _source(folder: Path, rows: int) -> dict[str, Any]:
    return {"path": str(folder.absolute()), "caption_column": _caption_column(folder), "rows": rows}


def _queries(given: Path) -> dict[str, Any]:
    if given.is_file():
        return {"source": "prompts", "prompts": str(given.absolute())}
    rows = _count(given, "--queries")
    return {"source": "images", "images": _source(given, rows)}


def _count(folder: Path, option: str) -> int:
    """Return how many images a folder holds, hidden ones passed over."""
    if not folder.is_dir():
        raise UserError(f"{option} is '{shown(str(folder))}', which is no folder; correct it.")
    count = 0
    for _, folders, names in os.walk(folder):
        # In place, so that hidden folders are not entered.
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        count += sum(name.lower().endswith(IMAGES) and not name.startswith(".") for name in names)
    if not count:
        raise UserError(f"{option} is '{shown(str(folder))}', which holds no images ({', '.join(IMAGES)}); correct it.")
    return count


def _caption_column(folder: Path) -> str | None:
    """Return the column of the captions: of the metadata, or that of the files beside the images; None for none."""
    metadata = folder / _METADATA
    if metadata.is_file():
        with metadata.open(encoding="utf-8") as file:
            try:
                named = json.loads(file.readline() or "{}")
            except ValueError:
                named = {}
        return next((name for name in _CAPTIONS if name in named), None)
    beside = any(file.suffix in _SIDECARS for file in folder.rglob("*") if file.is_file())
    return "caption" if beside else None


def _size(base: Path) -> int:
    """Return the side of the images that a local pipeline was made for."""
    for part in ("unet", "transformer"):
        side = _read(base / part / "config.json").get("sample_size")
        if isinstance(side, int):
            levels = len(_read(base / "vae" / "config.json").get("block_out_channels", [0]))
            return side * 2 ** (levels - 1)
    return _SIZE


def _family(base: str) -> str:
    """Return the family of a pipeline, by what its index says it is.

    Raises:
        UserError: it has no index, or is of no family.
    """
    index = Path(base) / "model_index.json"
    if not index.is_file() and not Path(base).exists():
        from huggingface_hub import hf_hub_download  # takes a second

        try:
            index = Path(hf_hub_download(base, "model_index.json"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"--base is '{shown(base)}', which is no folder and which the hub does not give "
                f"({type(error).__name__}); correct it, or name a downloaded folder."
            ) from error
    named = str(_read(index).get("_class_name"))
    family = next((name for name, entry in FAMILIES.items() if named in entry.pipelines), None)
    if family is None:
        raise UserError(
            f"--base is '{shown(base)}', a pipeline of kind {shown(named)}, which is of no family here; use one of "
            f"{', '.join(sorted(FAMILIES))}."
        )
    return family


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _laid_over(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with another laid over it: tables are joined, all else is replaced."""
    joined = dict(config)
    for key, value in changes.items():
        old = joined.get(key)
        joined[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return joined
