"""ICC profiles small enough to write out: colours that are told apart from sRGB at a glance."""

from __future__ import annotations

import struct
from collections.abc import Mapping

# XYZ of the primaries of sRGB under D50.
_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
_WHITE = (0.9642, 1.0, 0.8249)


def turned_profile() -> bytes:
    """Return a profile of RGB whose red is the green of sRGB, its green the blue, and its blue the red."""
    red, green, blue = _PRIMARIES[1], _PRIMARIES[2], _PRIMARIES[0]
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(2.2))
    return _profile(b"RGB ", {b"rXYZ": _xyz(red), b"gXYZ": _xyz(green), b"bXYZ": _xyz(blue), **curves})


def linear_grey_profile() -> bytes:
    """Return a profile of grey values that are proportional to light."""
    return _profile(b"GRAY", {b"kTRC": _curve(1.0)})


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)


def _profile(space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {**tags, b"wtpt": _xyz(_WHITE)}
    start, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value
    head = struct.pack(">I4xI4s4s4s12x4s28x", start + len(data), 0x02100000, b"mntr", space, b"XYZ ", b"acsp")
    white = struct.pack(">3i", *(round(value * 65536) for value in _WHITE))
    return (head[:68] + white).ljust(128, b"\0") + table + data
