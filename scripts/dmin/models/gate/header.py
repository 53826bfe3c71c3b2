"""The header of a safetensors file, read strictly before anything else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmin.models.gate.files import is_pointer
from dmin.models.gate.words import reason
from dmin.runtime.errors import UserError
from dmin.runtime.text import TwiceError, shown, unique_keys

# Those of large models take a few hundred KiB; some trainers keep their captions there.
LARGEST = 2**25
FLOATS = ("F64", "F32", "F16", "BF16")
_PLAIN = (*FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")
# What a file is in truth, by its first bytes.
_FOREIGN = {
    b"PK\x03\x04": (
        "it is a pickle of torch, which is never read because it can run code",
        "convert it to safetensors",
    ),
    b"\x80": ("it is a pickle, which is never read because it can run code", "convert it to safetensors"),
    b"GGUF": ("it is GGUF", "take the model in safetensors"),
    b"<": ("it is a web page", "download the file itself"),
}


class _FaultError(Exception):
    """What is wrong with a file, and the fix."""

    def __init__(self, cause: str, fix: str = "download it again") -> None:
        super().__init__(cause)
        self.fix = fix


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
            raise _FaultError("its header is foreign")
        tensors = {name: _entry(name, value) for name, value in header.items()}
    except _FaultError as error:
        raise UserError(f"{what} '{shown(path)}' cannot be read ({error}); {error.fix}.") from error
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OSError) as error:
        raise UserError(f"{what} '{shown(path)}' cannot be read ({reason(error)}); download it again.") from error
    return Header(tensors, metadata)


def _parse(path: Path) -> dict[str, Any]:
    """Return the JSON of a header."""
    if not path.is_file():
        raise _FaultError("there is no such file", "correct its path")
    size = path.stat().st_size
    if size == 0:
        raise _FaultError("it is empty")
    if is_pointer(path):
        raise _FaultError("it is a Git LFS pointer and not the file itself", "run git lfs pull or download it again")
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, LARGEST):
            raise _instead(start, length, size)
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=unique_keys)
    except TwiceError as error:
        raise _FaultError("its header names a tensor twice") from error
    if not isinstance(header, dict):
        raise _FaultError("its header is foreign")
    return header


def _instead(start: bytes, length: int, size: int) -> _FaultError:
    """Return what a file is whose first bytes are no length of a header."""
    foreign = next((fault for mark, fault in _FOREIGN.items() if start.startswith(mark)), None)
    if foreign is not None:
        return _FaultError(*foreign)
    if length <= size - 8:
        return _FaultError(f"its header takes {length >> 20} MiB, which no model's does")
    return _FaultError("it is cut short, or no safetensors file")


def _entry(name: str, value: Any) -> tuple[str, tuple[int, ...]]:
    kind, shape = value["dtype"], tuple(value["shape"])
    if kind not in _PLAIN:
        raise _FaultError(f"it stores '{shown(name)}' as {shown(kind)}", "convert it to half or single precision")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise _FaultError("its header is foreign")
    return kind, shape
