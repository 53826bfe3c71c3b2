"""Whether a device gives the gradients and sketches that the CPU gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from gpu_scale import Row, Scale, row
from torch import Tensor, nn

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind
from dmin.gradients.sketches.fold import fold

if TYPE_CHECKING:
    from gradient_cases import Case

_KINDS: tuple[SketchKind, ...] = ("permutation", "rolled")
_ROWS = 4
# A module for every rule, and the input of each row.
_RULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(24, 32), (7, 24)),
    "conv1d": (lambda: nn.Conv1d(8, 12, 3), (8, 19)),
    "conv2d": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (8, 11, 11)),
    "conv2d, groups": (lambda: nn.Conv2d(8, 16, 3, groups=4), (8, 11, 11)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3), (4, 5, 7, 7)),
    "group_norm": (lambda: nn.GroupNorm(4, 16), (16, 9, 9)),
    "layer_norm": (lambda: nn.LayerNorm(24), (7, 24)),
    "rms_norm": (lambda: nn.RMSNorm(24), (7, 24)),
}


def exactness(scale: Scale) -> Iterator[Row]:
    """Yield relative errors and least cosines of the device against the CPU, autograd and fp64."""
    with full_precision():
        yield from _layer_rules(scale.device)
        yield from _sketches(scale)
        case = _case(scale, "embedded")
        yield from _against_cpu(case)
        yield from _in_parts(case)
    for name in ("embedded",) if scale.toy else ("embedded", "ddpm_cifar"):
        yield from _precisions(_case(scale, name))


@contextmanager
def full_precision(on: bool = True) -> Iterator[None]:
    """Multiply in fp32 throughout, or in TF32 where ``on`` is false, within the block."""
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolutions.allow_tf32
    matmul.allow_tf32 = convolutions.allow_tf32 = not on
    try:
        yield
    finally:
        matmul.allow_tf32, convolutions.allow_tf32 = before


def worst(found: Tensor, wanted: Tensor) -> float:
    """Return the largest relative L2 error over rows ``[n, d]``."""
    found, wanted = found.double().cpu(), wanted.double().cpu()
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


def _case(scale: Scale, name: str) -> Case:
    from gradient_cases import build_case  # here, so that rules and sketches are checked where a library lacks

    return build_case(name, scale.device, Path("random weights"), _ROWS, None)


def _layer_rules(device: torch.device) -> Iterator[Row]:
    for name, (make, shape) in _RULES.items():
        torch.manual_seed(0)
        module, inputs = make().to(device), torch.randn(_ROWS, *shape, device=device)
        for parameter in module.parameters():
            nn.init.normal_(parameter)
        yield row(name, "engine against autograd", "relative error", _rule_error(module, inputs))
    torch.manual_seed(0)
    module = nn.Embedding(16, 24).to(device)
    tokens = torch.randint(0, 16, (_ROWS, 7), device=device)
    yield row("embedding", "engine against autograd", "relative error", _rule_error(module, tokens))


def _rule_error(module: nn.Module, inputs: Tensor) -> float:
    def losses(rows: Tensor) -> Tensor:
        values: Tensor = module(rows)
        return values.sin().flatten(1).sum(1)

    parameters = dict(module.named_parameters())
    wanted = []
    for place in range(len(inputs)):
        found = torch.autograd.grad(losses(inputs[place : place + 1]).sum(), list(parameters.values()))
        wanted.append(torch.cat([part.flatten() for part in found]))
    engine = PerSampleGradients(module, parameters)
    sink = RawSink(engine.parameter_count, len(inputs), inputs.device)
    with engine.capture(len(inputs), sink):
        losses(inputs).sum().backward()
    return worst(sink.gradient, torch.stack(wanted))


def _sketches(scale: Scale) -> Iterator[Row]:
    count, width = (50_000, 1024) if scale.toy else (20_000_000, 65_536)
    rows = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    for kind in _KINDS:
        here = CountSketch(count, width, 0, scale.device, kind).apply(rows)
        there = CountSketch(count, width, 0, "cpu", kind).apply(rows)
        yield row(f"P = {count:,}", kind, "relative error of the sketch", worst(here, there))
        yield row(
            f"P = {count:,}",
            kind,
            "relative error of its fold",
            worst(fold(here, width // 16), fold(there, width // 16)),
        )


def _against_cpu(case: Case) -> Iterator[Row]:
    cpu = torch.device("cpu")
    model = copy.deepcopy(case.model).to(cpu)
    names = dict(model.named_parameters())
    there = replace(
        case,
        model=model,
        parameters={name: names[name] for name in case.parameters},
        inputs=tuple(value.to(cpu) for value in case.inputs),
    )
    for kind in _KINDS:
        (sketch, norm), (wanted, wanted_norm) = _sketched(case, kind), _sketched(there, kind)
        yield row(case.name, kind, "relative error of the sketch", worst(sketch, wanted))
        yield row(case.name, kind, "relative error of the norm", worst(norm[:, None], wanted_norm[:, None]))


def _in_parts(case: Case) -> Iterator[Row]:
    """Yield how far a row's sketch depends on the rows beside it: a resumed job has others."""
    whole, _ = _sketched(case, "permutation")
    half = case.batch // 2
    parts = [
        _sketched(replace(case, inputs=tuple(value[part] for value in case.inputs)), "permutation")[0]
        for part in (slice(None, half), slice(half, None))
    ]
    yield row(case.name, "half the rows at a time", "relative error of the sketch", worst(torch.cat(parts), whole))
    again, _ = _sketched(case, "permutation")
    yield row(case.name, "the same rows again", "relative error of the sketch", worst(again, whole))


def _sketched(case: Case, kind: SketchKind) -> tuple[Tensor, Tensor]:
    engine = PerSampleGradients(case.model, case.parameters)
    sink = SketchSink(CountSketch(engine.parameter_count, case.width, 0, case.device, kind), case.batch)
    with engine.capture(case.batch, sink):
        case.losses(case.model, case.inputs).sum().backward()
    sketch, norm = sink.finish()
    return sketch, norm


def _precisions(case: Case) -> Iterator[Row]:
    from gradient_precision import gradient_precision  # as above

    for exact, renamed in ((True, None), (False, "tf32")):
        if not exact and case.device.type != "cuda":
            continue
        with full_precision(exact):
            for found in gradient_precision(case):
                if exact or found["precision"] == "float32":
                    variant = renamed or str(found["precision"])
                    yield row(case.name, variant, "least cosine to fp64", float(found["cosine_least"]))
                    yield row(case.name, variant, "error of the norm", float(found["norm_error_worst"]))
