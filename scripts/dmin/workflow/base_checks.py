"""Checks of bases, as far as their settings, the names of their files and of their pipeline tell."""

from __future__ import annotations

import re
from pathlib import Path

from ..catalogue.families import FAMILIES
from ..runtime.errors import UserError
from .checks import CORRECT_PATH
from .files import is_file, is_missing, pipeline_name
from .models import Base

_FORMATS = "not .ckpt or .bin, which can run code, nor .gguf"
# Pipelines of diffusers that make videos.
_VIDEO = re.compile(
    "Video|Wan|LTX|Mochi|Allegro|Latte|Cosmos|SkyReels|AnimateDiff|CogVideo|EasyAnimate|Helios|Framepack|ChronoEdit|"
    "Kandinsky[56]"
)
# Pipelines of diffusers that look like those of a family and hold other parts.
_RELATED = {
    "Flux2Pipeline": "FLUX.2 dev, whose text encoder, Mistral, no family reads; take FLUX.2 klein, of the family flux2"
}


def check_base(base: Base) -> None:
    """Refuse a base that is not there.

    Raises:
        UserError: its path can only stand for files here, and there are none, or they are not of its family; or a
            setting is none of its family's.
    """
    if base.settings["preconditioned"] and not base.family.preconditions:
        having = [name for name, entry in FAMILIES.items() if entry.preconditions]
        raise UserError(
            f"bases.{base.name}.preconditioned is true, which only {' and '.join(having)} can be; leave it out."
        )
    for key, given in (("path", base.settings["path"]), ("config", base.settings["config"])):
        if given and is_missing(given):
            raise UserError(f"bases.{base.name}.{key} is '{given}', which does not exist; {CORRECT_PATH}.")
    if base.settings["guidance"] is not None and base.family.guidance is None:
        having = [name for name, entry in FAMILIES.items() if entry.guidance is not None]
        raise UserError(
            f"bases.{base.name}.guidance is set, which only {' and '.join(having)} has; leave it out, and set "
            "queries.guidance for images."
        )
    _check_files(base)


def _check_files(base: Base) -> None:
    """Refuse a base that is no pipeline of its family, as far as names of files and of its pipeline tell."""
    place, path, config = f"bases.{base.name}", base.settings["path"], base.settings["config"]
    if is_file(path) and Path(path).suffix != ".safetensors":
        raise UserError(
            f"{place}.path is '{path}', and of single files only .safetensors are read ({_FORMATS}); convert it, or "
            "take the model in safetensors."
        )
    if is_file(path) and not config:
        raise UserError(
            f"{place}.path is '{path}', one file without configs and tokenizers; set {place}.config to a pipeline of "
            "its kind, a folder or a model on the hub."
        )
    if config and not is_file(path):
        raise UserError(f"{place}.config is set, but path is no single file, and has its own; leave it out.")
    named = pipeline_name(config or path)
    # A family that names no pipelines takes whichever has its parts.
    if named is None or named in base.family.pipelines or not base.family.pipelines:
        return
    own = next((name for name, entry in FAMILIES.items() if named in entry.pipelines), None)
    if own is not None:
        raise UserError(f"{place}.path is a {named}, and family is {base.family.name}; set family to {own}.")
    if named in _RELATED:
        raise UserError(f"{place}.path is a {named}, {_RELATED[named]}.")
    if _VIDEO.search(named):
        raise UserError(
            f"{place}.path is a {named}, a video model, which no family takes; take a base that makes images."
        )
