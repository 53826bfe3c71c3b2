"""Images without what stands beside their pixels, for files in which that is broken."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
# Of the chunks that a decoder may pass over, those that change what is seen.
_SEEN = (b"tRNS", b"iCCP", b"eXIf")


def without_extras(data: bytes) -> Iterator[bytes]:
    """Yield a PNG or JPEG file again with less and less beside its pixels; nothing for other formats."""
    if data.startswith(_PNG):
        yield _png(data, _SEEN)
        yield _png(data, _SEEN[:1])
    elif data.startswith(b"\xff\xd8"):
        # What Adobe's segment says of the colours belongs to the pixels.
        yield _jpeg(data, (0xE0, 0xE1, 0xE2, 0xEE))
        yield _jpeg(data, (0xE0, 0xE2, 0xEE))
        yield _jpeg(data, (0xE0, 0xEE))


def _png(data: bytes, kept: tuple[bytes, ...]) -> bytes:
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, end = data[place + 4 : place + 8], place + 12 + length
        needed = not kind[0] & 0x20
        if needed or (kind in kept and zlib.crc32(data[place + 4 : end - 4]).to_bytes(4, "big") == data[end - 4 : end]):
            parts.append(data[place:end])
        place = end
    return b"".join(parts)


def _jpeg(data: bytes, kept: tuple[int, ...]) -> bytes:
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, end = data[place + 1], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xDA:
            break
        if marker in kept or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[place:end])
        place = end
    return b"".join([*parts, data[place:]])
