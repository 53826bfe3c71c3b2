"""How well the two sketches keep the cosines of real per-sample gradients."""

from __future__ import annotations

import torch
from gradient_cases import Case

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind
from dmin.gradients.sketches.fold import fold

_SEEDS = 8
_DIVISORS = (1, 4, 16, 64)
_KINDS: tuple[SketchKind, ...] = ("permutation", "rolled")

Record = dict[str, str | int | float]


def sketch_accuracy(case: Case) -> list[Record]:
    """Return the root mean square error of cosines for each kind and width, over pairs of rows and seeds.

    Gradients are centred over the batch first: what they share would hide the differences that attribution ranks.
    ``expected`` is the error of an ideal count sketch, ``sqrt(mean(1 + cosine**2) / v)``.
    """
    engine = PerSampleGradients(case.model, case.parameters)
    sink = RawSink(engine.parameter_count, case.batch, case.device)
    with engine.capture(case.batch, sink):
        case.losses(case.model, case.inputs).sum().backward()
    rows = torch.nn.functional.normalize(sink.gradient - sink.gradient.mean(0), dim=1)
    pairs = torch.triu_indices(case.batch, case.batch, 1, device=case.device)
    true = (rows @ rows.T)[pairs[0], pairs[1]]
    squares: dict[tuple[str, int], list[float]] = {}
    for seed in range(_SEEDS):
        for kind in _KINDS:
            wide = CountSketch(engine.parameter_count, case.width, seed, case.device, kind).apply(rows)
            for divisor in _DIVISORS:
                narrow = fold(wide, case.width // divisor)
                error = (narrow @ narrow.T)[pairs[0], pairs[1]] - true
                squares.setdefault((kind, case.width // divisor), []).append(float(error.square().mean()))
    return [
        {
            "model": case.name,
            "v": v,
            "kind": kind,
            "rmse": (sum(values) / len(values)) ** 0.5,
            "expected": float(((1 + true.square()).mean() / v).sqrt()),
        }
        for (kind, v), values in squares.items()
    ]
