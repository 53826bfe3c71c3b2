"""What sets the pace of a method and no score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Speed:
    """The device that a method computes on (``cpu``, ``cuda`` or ``auto``), and how many images go together."""

    device: str
    batch: int
