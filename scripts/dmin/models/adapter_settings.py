"""What an adapter's files say of how it is to be applied: all of it is applied, or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

from dmin.models.adapter_file import DENOISER, SETTINGS
from dmin.models.adapter_names import PREFIXES
from dmin.models.gate.files import read_json, require_plain
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import shown

# What says nothing of how the tensors act, or is said better by the tensors themselves.
_SILENT = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "parent_library",
    "peft_version",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
}
_APPLIED = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "peft_type"}
_FLAGS = ("use_rslora", "use_dora")
# Initialisations that leave the base as it is; all others were trained on a base that they had changed.
_INITIAL = (None, True, False, "gaussian", "orthogonal", "eva")
# A pattern is a stranger's regular expression: names, dots, alternatives and a few wildcards cannot take long.
MOST_PATTERNS = 4096
_NAME = re.compile(r"[\w.]{1,400}")
_SMALLEST, _LARGEST = 1e-30, 1e30
_PATTERN = re.compile(r"\^?[\w.\\*|-]{1,400}\$?")


@dataclass(frozen=True)
class AdapterSettings:
    """Rank and alpha of every layer: those of the pattern that it matches, else ``rank`` and ``alpha``; None if unsaid.

    The scale of a layer is alpha / rank, with ``rslora`` alpha over the root of the rank. ``targets`` says which layers
    PEFT would change, None where that is unsaid or a regular expression; ``dora`` whether weights are taken apart into
    magnitude and direction, None where that is unsaid.
    """

    rank: int | None
    alpha: float | None
    ranks: Sequence[tuple[re.Pattern[str], int]]
    alphas: Sequence[tuple[re.Pattern[str], float]]
    rslora: bool
    targets: LoraConfig | None = None
    dora: bool | None = None

    def leaves_out(self, layer: str) -> bool:
        """Tell whether PEFT would not apply the tensors of a layer, because the settings do not name it."""
        return self.targets is not None and not check_target_module_exists(self.targets, layer)

    def rank_of(self, layer: str) -> int | None:
        """Return the rank of a layer; None where nothing says it."""
        return next((rank for pattern, rank in self.ranks if pattern.match(layer)), self.rank)

    def alpha_of(self, layer: str) -> float | None:
        """Return the alpha of a layer; None where nothing says it."""
        return next((alpha for pattern, alpha in self.alphas if pattern.match(layer)), self.alpha)


def read_settings(source: Path, header: Mapping[str, str], part: str = DENOISER) -> AdapterSettings:
    """Return what an adapter says of the training of a part, in its header or in PEFT's file beside it.

    That file says nothing of text encoders.

    Raises:
        UserError: it is torn, contradicts itself, or asks for something that is not supported; that is named.
    """
    said = _of_part(source, header.get(SETTINGS), part)
    beside = source.with_name("adapter_config.json")
    if part == DENOISER and (beside.exists() or beside.is_symlink()):
        require_plain(beside, source.parent)
        told = read_json(beside)
        for key in sorted(_APPLIED & said.keys() & told.keys()):
            # None and an empty table say the same.
            if (said[key] or None) != (told[key] or None):
                raise UserError(
                    f"Adapter '{source}' says {key} {shown(said[key])} in its header and {shown(told[key])} in "
                    f"{beside.name}; keep the one it was trained with."
                )
        said = {**told, **said}
    _require_supported(source, said)
    rank, alpha = said.get("r"), said.get("lora_alpha")
    if rank is not None:
        rank = _rank(source, "r", rank)
    if alpha is not None:
        alpha = require_alpha(source, "alpha", alpha)
    ranks = [(match, _rank(source, *told)) for match, *told in _patterns(source, said, "rank_pattern")]
    alphas = [(match, require_alpha(source, *told)) for match, *told in _patterns(source, said, "alpha_pattern")]
    return AdapterSettings(
        rank, alpha, ranks, alphas, bool(said.get("use_rslora")), _targets(said), said.get("use_dora")
    )


def require_alpha(source: Path, name: str, value: Any) -> float:
    """Return an alpha as a number, whole where it is.

    Raises:
        UserError: it is not finite or not above 0, in the single precision that it is multiplied in too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not _SMALLEST <= value <= _LARGEST:
        raise UserError(
            f"Adapter '{source}' says {shown(name)} {shown(value)}, which must be finite and above 0 in single "
            "precision; download it again."
        )
    return int(value) if value == int(value) else value


def _of_part(source: Path, text: str | None, wanted: str) -> dict[str, Any]:
    """Return the settings of one part of a pipeline in a header, where each may have its own."""
    if text is None:
        return {}
    try:
        given = json.loads(text)
        parts = {key: key.rpartition(".") for key in given}
        denoisers = ("", *(prefix.removesuffix(".") for prefix in PREFIXES))
        own = {key for key, (part, _, _) in parts.items() if part in ((wanted,) if wanted else denoisers)}
        said: dict[str, Any] = {}
        for key in sorted(own):
            field = parts[key][2]
            if field in said and said[field] != given[key]:
                raise ValueError(f"{field} is said twice")
            said[field] = given[key]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"Adapter '{source}' has a torn header ({reason(error)}); download it again.") from error
    return said


def _require_supported(source: Path, said: Mapping[str, Any]) -> None:
    if said.get("peft_type", "LORA") != "LORA":
        raise UserError(f"Adapter '{source}' is of the kind {shown(said['peft_type'])} and not LORA; merge it.")
    for flag in _FLAGS:
        if not isinstance(said.get(flag), bool | None):
            raise UserError(f"Adapter '{source}' says {flag} {shown(said[flag])}, not true or false; convert it.")
    start = said.get("init_lora_weights")
    if not isinstance(start, str | bool | None) or start not in _INITIAL:
        raise UserError(
            f"Adapter '{source}' says init_lora_weights {shown(start)}, which changed the base that it was trained on; "
            "convert it to a plain LoRA."
        )
    usual = LoraConfig().to_dict()
    known = {field.name for field in fields(LoraConfig)}
    for key, value in sorted(said.items()):
        unusual = value != usual[key] if key in known and key in usual else bool(value)
        if unusual and value and key not in _SILENT | _APPLIED:
            raise UserError(
                f"Adapter '{source}' says {shown(key)} {shown(value)}, which is not supported; merge it into a full "
                "model."
            )


def _patterns(source: Path, said: Mapping[str, Any], key: str) -> list[tuple[re.Pattern[str], str, Any]]:
    """Return the patterns of layers with their names and values, in order; the first that matches holds, as in PEFT."""
    given, found = said.get(key) or {}, []
    if not isinstance(given, dict) or len(given) > MOST_PATTERNS:
        raise UserError(f"Adapter '{source}' says {key} {shown(given)}, which is no table of layers; convert it.")
    for name, value in given.items():
        try:
            if not _PATTERN.fullmatch(name) or name.count("*") > 2:
                raise ValueError("too free a pattern")
            found.append((re.compile(rf"(.*\.)?({name})$"), name, value))
        except (ValueError, re.error) as error:
            raise UserError(f"Adapter '{source}' has '{shown(name)}' in {key}; name its layers in full.") from error
    return found


def _targets(said: Mapping[str, Any]) -> LoraConfig | None:
    """Return what names the layers of an adapter, where it does so by lists; a stranger's pattern is not matched."""
    modules, numbers = said.get("target_modules"), said.get("layers_to_transform") or []
    excluded, patterns = said.get("exclude_modules") or [], said.get("layers_pattern") or []
    numbers = [numbers] if type(numbers) is int else numbers
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not modules or not all(isinstance(value, list) for value in (modules, excluded, patterns, numbers)):
        return None
    names = [*modules, *excluded, *patterns]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        return None
    if not all(type(number) is int for number in numbers) or (patterns and not numbers):
        return None
    return LoraConfig(
        target_modules=[re.sub(rf"^({'|'.join(map(re.escape, PREFIXES))})", "", name) for name in modules],
        exclude_modules=excluded or None,
        layers_to_transform=numbers or None,
        layers_pattern=patterns or None,
    )


def _rank(source: Path, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise UserError(
            f"Adapter '{source}' says rank {shown(value)} ({shown(name)}), not a number from 1; convert it."
        )
    return value
