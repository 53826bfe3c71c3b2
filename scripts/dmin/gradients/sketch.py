"""DMin's gradient compression: the map, its running sums during backward, and its exact narrowing."""

from __future__ import annotations

from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind
from dmin.gradients.sketches.fold import fold

__all__ = ["CountSketch", "RawSink", "SketchKind", "SketchSink", "fold"]
