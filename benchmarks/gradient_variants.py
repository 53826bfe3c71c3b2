"""The ways of computing sketched per-sample gradients that are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from gradient_cases import Case
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.sketch_sink import SketchSink
from dmin.gradients.sketches.count_sketch import CountSketch, SketchKind

Step = Callable[[], int]
"""Does one timed step and returns how many (sample, timestep) rows it handled."""

_LOOP_ROWS = 8


def loop(case: Case) -> Step:
    """One sample and one timestep at a time: concatenate, normalise, permute, group-sum, as the paper describes it."""
    parameters = list(case.parameters.values())
    count = sum(parameter.numel() for parameter in parameters)
    padded = -(-count // case.width) * case.width
    permutation = torch.randperm(padded, device=case.device)
    signs = torch.randint(0, 2, (padded,), device=case.device, dtype=torch.int8) * 2 - 1

    def step() -> int:
        rows = min(case.batch, _LOOP_ROWS)
        for row in range(rows):
            _clear(case)
            case.losses(case.model, tuple(value[row : row + 1] for value in case.inputs)).sum().backward()
            flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
            flat = torch.nn.functional.pad(flat / flat.norm(), (0, padded - count))
            _keep((flat * signs)[permutation].view(case.width, -1).sum(1))
        return rows

    return step


def hooks(case: Case, kind: SketchKind = "permutation") -> Step:
    """The engine and the sketch of this project."""
    engine = PerSampleGradients(case.model, case.parameters)
    sketch = _sketch(case, kind)

    def step() -> int:
        sink = SketchSink(sketch, case.batch)
        with engine.capture(case.batch, sink):
            case.losses(case.model, case.inputs).sum().backward()
        _keep(sink.finish()[0])
        return case.batch

    return step


def hooks_rolled(case: Case) -> Step:
    """The engine with the rolled sketch."""
    return hooks(case, "rolled")


def batched(case: Case) -> Step:
    """A plain training step's forward and backward pass: the physical limit, which gives no per-sample gradient."""

    def step() -> int:
        _clear(case)
        case.losses(case.model, case.inputs).sum().backward()
        return case.batch

    return step


def per_sample_vmap(case: Case) -> Step:
    """``torch.func``: vectorised gradients of every tensor at once, then the sketch."""
    sketch = _sketch(case, "permutation")
    values = {name: parameter.detach() for name, parameter in case.parameters.items()}

    def one_loss(parameters: dict[str, Tensor], *row: Tensor) -> Tensor:
        inputs = tuple(value.unsqueeze(0) for value in row)
        return case.losses(lambda *args, **named: functional_call(case.model, parameters, args, named), inputs)[0]

    rows = vmap(grad(one_loss), in_dims=(None, *[0] * len(case.inputs)))

    def step() -> int:
        with sdpa_kernel(SDPBackend.MATH):
            found = rows(values, *case.inputs)
        _keep(_sketched(sketch, case.batch, [found[name] for name in case.parameters]))
        return case.batch

    return step


def per_sample_opacus(case: Case) -> Step:
    """Opacus: hooks that store the per-sample gradient of every tensor, then the sketch."""
    from opacus import GradSampleModule  # here, so that the other variants run where it is not installed

    sketch = _sketch(case, "permutation")
    # Its module hooks would slow the other variants and cannot run inside torch.func, so it gets a model of its own,
    # in training mode because the hooks record nothing otherwise; none of the models has an active dropout.
    model = copy.deepcopy(case.model).train()
    named = dict(model.named_parameters())
    parameters = [named[name] for name in case.parameters]
    wrapped = GradSampleModule(model, loss_reduction="sum")

    def step() -> int:
        case.losses(wrapped, case.inputs).sum().backward()
        _keep(_sketched(sketch, case.batch, [parameter.grad_sample for parameter in parameters]))
        for parameter in parameters:
            parameter.grad = parameter.grad_sample = None
        return case.batch

    return step


VARIANTS: dict[str, Callable[[Case], Step]] = {
    "loop": loop,
    "hooks": hooks,
    "hooks_rolled": hooks_rolled,
    "batched": batched,
    "vmap": per_sample_vmap,
    "opacus": per_sample_opacus,
}


def _sketch(case: Case, kind: SketchKind) -> CountSketch:
    count = sum(parameter.numel() for parameter in case.parameters.values())
    return CountSketch(count, case.width, seed=0, device=case.device, kind=kind)


def _sketched(sketch: CountSketch, batch: int, gradients: list[Tensor]) -> Tensor:
    sink = SketchSink(sketch, batch)
    offset = 0
    for gradient in gradients:
        sink.add(offset, gradient.reshape(batch, -1))
        offset += gradient[0].numel()
    return sink.finish()[0]


def _keep(sketch: Tensor) -> None:
    # A cache keeps sketches in main memory.
    sketch.to("cpu", torch.float16)


def _clear(case: Case) -> None:
    for parameter in case.parameters.values():
        parameter.grad = None
