"""DMin's gradient compression: the map, its running sums during backward, and its exact narrowing."""

from __future__ import annotations

from dmin.gradients.count_sketch import CountSketch, SketchKind
from dmin.gradients.fold import fold
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketch_sink import SketchSink

__all__ = ["CountSketch", "RawSink", "SketchKind", "SketchSink", "fold"]
