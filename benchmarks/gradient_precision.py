"""How close gradients in fp32, bf16 and fp16 come to those in fp64."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from gradient_cases import Case

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.runtime.precision import FORMATS, LOSS_SCALE

Record = dict[str, str | float]


def gradient_precision(case: Case) -> list[Record]:
    """Return, for each precision, the mean and least cosine to the fp64 gradient and the worst relative norm error."""
    wide = copy.deepcopy(case.model).double()
    names = dict(wide.named_parameters())
    inputs = tuple(value.double() if value.is_floating_point() else value for value in case.inputs)
    true = _gradients(
        replace(case, model=wide, parameters={name: names[name] for name in case.parameters}, inputs=inputs), "float32"
    )
    records: list[Record] = []
    for precision in LOSS_SCALE:
        found = _gradients(case, precision).double()
        cosine = torch.nn.functional.cosine_similarity(found, true)
        norms = (found.norm(dim=1) / true.norm(dim=1) - 1).abs()
        records.append(
            {
                "model": case.name,
                "precision": precision,
                "cosine_mean": cosine.mean().item(),
                "cosine_least": cosine.min().item(),
                "norm_error_worst": norms.max().item(),
            }
        )
    return records


def _gradients(case: Case, precision: str) -> torch.Tensor:
    engine = PerSampleGradients(case.model, case.parameters)
    dtype = next(case.model.parameters()).dtype
    sink = RawSink(engine.parameter_count, case.batch, case.device, dtype)
    with engine.capture(case.batch, sink):
        losses = replace(case, autocast=FORMATS.get(precision)).losses(case.model, case.inputs)
        (losses.sum() * LOSS_SCALE[precision]).backward()
    return sink.gradient / LOSS_SCALE[precision]
