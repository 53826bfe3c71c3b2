"""What a trainer wrote of its training into the header of an adapter: ``ss_*``, of sd-scripts and its followers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dmin.catalogue.families import FAMILIES
from dmin.models.gate.header import read_header
from dmin.runtime.errors import UserError
from dmin.runtime.text import drawable, shown

# A text is shown to people; a longer one says nothing more to them.
MOST_CHARACTERS, MOST_FOLDERS, _MOST_JSON = 400, 1000, 2**20
# Models that adapters are trained on and that have no family here, by the first letters that trainers name them with.
_ELSEWHERE = (
    "sd_v", "sd_1", "sd_2", "sd1", "sd2", "stable-diffusion", "stable_diffusion", "sdxl", "sd3", "sd_3", "flux",
    "wan", "hunyuan", "ltx", "cogvideo", "mochi", "qwen", "zimage", "z-image", "z_image", "lumina", "chroma", "hidream",
    "krea", "auraflow", "pixart", "sana", "kandinsky", "framepack", "animatediff", "skyreels", "anima",
)  # fmt: skip
_VIDEO = ("wan", "hunyuan_video", "hunyuan-video", "ltx", "cogvideo", "mochi", "framepack", "animatediff", "skyreels")


@dataclass(frozen=True)
class DataFolder:
    """A folder of training images: its ``name``, how many ``images`` it had and how often each was repeated."""

    name: str
    images: int | None
    repeats: int | None


@dataclass(frozen=True)
class TrainerMetadata:
    """What an adapter says of its training; None for what it does not say.

    ``base`` is the kind of model, such as ``sdxl_base_v1-0``; ``base_name`` and ``base_hash`` are those of its file,
    ``resolution`` the ``[width, height]`` in pixels; ``buckets`` tells whether images kept their aspect ratios.
    """

    network: str | None = None
    rank: int | None = None
    alpha: float | None = None
    base: str | None = None
    base_name: str | None = None
    base_hash: str | None = None
    seed: int | None = None
    resolution: tuple[int, int] | None = None
    buckets: bool | None = None
    steps: int | None = None
    epochs: int | None = None
    images: int | None = None
    folders: tuple[DataFolder, ...] = ()

    def told(self) -> dict[str, Any]:
        """Return what it says, as plain values for JSON."""
        return {key: value for key, value in asdict(self).items() if value not in (None, ())}


def read_trainer_metadata(path: Path) -> TrainerMetadata:
    """Return what the header of an adapter says of its training.

    Nothing of it is trusted: what is not of the kind that it should be counts as unsaid, and texts are cut.

    Raises:
        UserError: as :func:`read_header`.
    """
    said = read_header(path, "Adapter").metadata
    return TrainerMetadata(
        network=_text(said, "ss_network_module"),
        rank=_integer(said.get("ss_network_dim")),
        alpha=_number(said.get("ss_network_alpha")),
        base=_text(said, "ss_base_model_version", "modelspec.architecture"),
        base_name=_text(said, "ss_sd_model_name"),
        base_hash=_text(said, "ss_new_sd_model_hash", "ss_sd_model_hash"),
        seed=_integer(said.get("ss_seed")),
        resolution=_resolution(said.get("ss_resolution") or said.get("modelspec.resolution")),
        buckets=_bucketed(said),
        steps=_integer(said.get("ss_steps") or said.get("ss_max_train_steps")),
        epochs=_integer(said.get("ss_epoch") or said.get("ss_num_epochs")),
        images=_integer(said.get("ss_num_train_images")),
        folders=_folders(said),
    )


def require_base(path: Path, said: TrainerMetadata, family: str) -> None:
    """Refuse an adapter that says that it was trained on a model of another kind than ``family``.

    What it says counts where it is known: as one of the names of the family, or as another's.

    Raises:
        UserError: naming the kind.
    """
    named = (said.base or "").lower()
    known_as = FAMILIES[family].known_as if family in FAMILIES else ()
    words = {word for entry in FAMILIES.values() for word in entry.known_as} | set(_ELSEWHERE)
    # The longest, for names of later models begin with those of the first.
    word = max((word for word in words if named.startswith(word)), key=len, default=None)
    if not known_as or word is None or word in known_as:
        return
    video = ", a video model" if named.startswith(_VIDEO) else ""
    raise UserError(
        f"Adapter '{shown(path)}' says that it was trained on {shown(said.base)}{video}, and the base is of the family "
        f"{family}; set base to a model of that kind."
    )


def _text(said: Mapping[str, str], *keys: str) -> str | None:
    """Return the first of the keys that says something; sd-scripts writes None as a word."""
    found = next((said[key].strip() for key in keys if said.get(key, "").strip() not in ("", "None", "null")), None)
    return None if found is None else drawable(found.replace("\n", " "))[:MOST_CHARACTERS]


def _integer(value: Any) -> int | None:
    found = _number(value)
    return int(found) if found is not None and found == int(found) else None


def _number(value: Any) -> float | None:
    text = str(value).strip() if not isinstance(value, bool) else ""
    return float(text) if re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", text, re.ASCII) else None


def _resolution(value: Any) -> tuple[int, int] | None:
    """Return the sides of ``512``, ``512x768``, ``512,768`` or ``(512, 768)``."""
    found = re.fullmatch(r"\(?(\d{1,6})(?:\s*[,x]\s*(\d{1,6}))?\)?", str(value or "").strip(), re.ASCII)
    return None if found is None else (int(found[1]), int(found[2] or found[1]))


def _bucketed(said: Mapping[str, str]) -> bool | None:
    """Return what ``ss_enable_bucket`` says, or any data set in ``ss_datasets``."""
    sets = _json(said.get("ss_datasets"))
    told = (
        [str(given.get("enable_bucket")) for given in sets if isinstance(given, dict)] if isinstance(sets, list) else []
    )
    words = [word.lower() for word in (said.get("ss_enable_bucket", ""), *told)]
    return True if "true" in words else False if "false" in words else None


def _folders(said: Mapping[str, str]) -> tuple[DataFolder, ...]:
    """Return the folders of ``ss_dataset_dirs``, or those of the data sets in ``ss_datasets``."""
    found: dict[str, DataFolder] = {}
    for name, facts in _object(said.get("ss_dataset_dirs")).items():
        if isinstance(facts, dict):
            found[name] = _folder(name, facts.get("img_count"), facts.get("n_repeats"))
    sets = _json(said.get("ss_datasets"))
    for given in sets if isinstance(sets, list) else []:
        subsets = given.get("subsets") if isinstance(given, dict) else None
        for facts in subsets if isinstance(subsets, list) else []:
            if isinstance(facts, dict) and isinstance(facts.get("image_dir"), str):
                name = re.split(r"[\\/]", facts["image_dir"].rstrip("\\/"))[-1]
                found.setdefault(name, _folder(name, facts.get("img_count"), facts.get("num_repeats")))
    return tuple(list(found.values())[:MOST_FOLDERS])


def _folder(name: str, images: Any, repeats: Any) -> DataFolder:
    return DataFolder(drawable(name.replace("\n", " "))[:MOST_CHARACTERS], _integer(images), _integer(repeats))


def _object(text: str | None) -> dict[str, Any]:
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _json(text: str | None) -> Any:
    if text is None or len(text) > _MOST_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
