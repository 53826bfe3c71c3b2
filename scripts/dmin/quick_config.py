"""The config of a question that names images, an adapter, a base and queries, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmin.catalogue.families import FAMILIES
from dmin.folders.count import count_rows
from dmin.folders.files import UnreadableSourceError
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# The one data set, base, model and run of such a config.
RUN = "own"
_TOP = 50
_K = (5, 10, 50)
# Of the pipelines whose side no config file tells, that which their authors trained at.
_SIZE = 512


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
    source, rows = _source(question.images, "--images")
    top = min(_TOP, rows)
    if not question.adapter.exists():
        raise UserError(f"--adapter is '{shown(str(question.adapter))}', which does not exist; correct it.")
    config: dict[str, Any] = {
        "datasets": {
            RUN: {
                "size": _size(Path(base)) if local else _SIZE,
                "noise": {"fraction": 0},
                # Every image is ranked.
                "train_fraction": 1,
                "sources": [{"name": "images", **source, "on_empty_caption": "keep"}],
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
    return laid_over(config, changes or {})


def _source(folder: Path, option: str) -> tuple[dict[str, Any], int]:
    """Return a folder of images as the config has a source, and how many rows it has.

    Raises:
        UserError: it is no folder, or no rows can be read from it.
    """
    from dmin.data.columns import CAPTIONS  # takes a second
    from dmin.data.folder import open_local

    if not folder.is_dir():
        raise UserError(f"{option} is '{shown(str(folder))}', which is no folder; correct it.")
    try:
        rows, columns = count_rows(folder, "train"), open_local(folder, "train").columns
    except (UserError, UnreadableSourceError, OSError) as error:
        raise UserError(f"{option} is '{shown(str(folder))}': {str(error).rstrip('.')}; correct it.") from error
    captioned = any(name in columns for name in CAPTIONS)
    return {"path": str(folder.absolute()), "caption_column": "auto" if captioned else None, "rows": rows}, rows


def _queries(given: Path) -> dict[str, Any]:
    if given.is_file():
        return {"source": "prompts", "prompts": str(given.absolute())}
    return {"source": "images", "images": _source(given, "--queries")[0]}


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


def laid_over(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with another laid over it: tables are joined, all else is replaced."""
    joined = dict(config)
    for key, value in changes.items():
        old = joined.get(key)
        joined[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return joined
