"""The header of a safetensors file, read strictly before anything else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmin.models.gate.files import is_pointer
from dmin.models.gate.words import reason, shown
from dmin.runtime.errors import UserError

# Those of large models take a few hundred KiB; some trainers keep their captions there.
LARGEST = 2**25
FLOATS = ("F64", "F32", "F16", "BF16")
_PLAIN = (*FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")
# What a file is in truth, by its first bytes.
_FOREIGN = {
    b"PK\x03\x04": "it is a pickle of torch, which is never read because it can run code; convert it to safetensors",
    b"\x80": "it is a pickle, which is never read because it can run code; convert it to safetensors",
    b"GGUF": "it is GGUF; take the model in safetensors",
    b"<": "it is a web page; download the file itself",
}


@dataclass(frozen=True)
class Header:
    """What a file says it holds: ``tensors`` by name as ``(dtype, shape)``, and its text ``metadata``."""

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]


def read_header(path: Path, what: str) -> Header:
    """Return the header of a safetensors file.

    Args:
        what: the sentence's first word, such as ``Adapter``.

    Raises:
        UserError: it is no whole safetensors file, names a tensor twice, or stores numbers that are scaled or quantised
            (fp8 and smaller).
    """
    try:
        header = _parse(path)
        metadata = header.pop("__metadata__", None) or {}
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its header is foreign; download it again")
        tensors = {name: _entry(name, value) for name, value in header.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OSError) as error:
        told = reason(error) if isinstance(error, ValueError) and "; " in str(error) else None
        cause, _, fix = (told or f"{reason(error)}; download it again").partition("; ")
        raise UserError(f"{what} '{shown(path)}' cannot be read ({cause}); {fix}.") from error
    return Header(tensors, metadata)


def _parse(path: Path) -> dict[str, Any]:
    """Return the JSON of a header; a ValueError says the cause and the fix."""
    if not path.is_file():
        raise ValueError("there is no such file; correct its path")
    size = path.stat().st_size
    if size == 0:
        raise ValueError("it is empty; download it again")
    if is_pointer(path):
        raise ValueError("it is a Git LFS pointer and not the file itself; run git lfs pull or download it again")
    with path.open("rb") as file:
        start = file.read(8)
        for mark, fault in _FOREIGN.items():
            # A length that begins so is beyond every file.
            if start.startswith(mark) and (start[7:] != b"\0" or mark == b"<" and start[1:2].isalpha()):
                raise ValueError(fault)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ValueError("it is cut short, or no safetensors file; download it again")
        if length > LARGEST:
            raise ValueError(f"its header takes {length >> 20} MiB; it is not one of a model")
        text = file.read(length)
    header = json.loads(text, object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is foreign; download it again")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names a tensor twice; download it again")
    return found


def _entry(name: str, value: Any) -> tuple[str, tuple[int, ...]]:
    kind, shape = value["dtype"], tuple(value["shape"])
    if kind not in _PLAIN:
        raise ValueError(f"it stores '{shown(name)}' as {shown(kind)}; convert it to half or single precision")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("its header is foreign; download it again")
    return kind, shape
