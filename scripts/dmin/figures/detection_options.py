"""What of the detection-rate table a figure shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DetectionOptions:
    """Filters and layout of the detection figures.

    Attributes:
        methods: methods to draw, empty for all.
        widths: widths ``v`` to draw, as in the table (``'4096'``, ``'full'``), empty for all; rows without a width
            are always drawn.
        backend: ``exact`` or ``hnsw``: whose rankings are counted.
        columns: panels per row.
    """

    methods: Sequence[str] = ()
    widths: Sequence[str] = ()
    backend: str = "exact"
    columns: int = 4
