"""The Kronecker-factored curvature: measured on a pilot, and its inverse applied to the queries alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from curvature_oracle import dense
from gradient_oracle import expected
from tiny_pipeline import CPU
from torch import Tensor, nn

from dmin.gradients.curvature import Eigenbasis, KroneckerCurvature, SolvedSink, TensorCurvature
from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.kronecker import KroneckerFactors, RotatedSquaresSink
from dmin.gradients.layers.conv import input_patches
from dmin.gradients.raw_sink import RawSink

FIT = {"pilot": 3, "widest": 2048}
DAMPING = 0.1
ROWS = 6


class Network(nn.Module):
    """A layer of every kind: convolutions, a norm, a lookup, and a linear layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(4, 3, 2, dilation=2, padding="same", padding_mode="circular", bias=False)
        self.grouped = nn.Conv2d(3, 6, 3, groups=3)
        self.norm = nn.GroupNorm(2, 6)
        self.words = nn.Embedding(5, 6)
        self.linear = nn.Linear(6, 6)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        hidden = self.norm(self.grouped(self.dilated(self.strided(images).tanh()).tanh()))
        tokens = torch.cat([hidden.flatten(2).mT, self.words(words)], 1)
        return self.linear(self.linear(tokens).tanh())


def network() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """Return the network in double precision, and the losses of a fixed batch."""
    torch.manual_seed(0)
    model = Network().double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(ROWS, 2, 9, 9, generator=generator, dtype=torch.float64)
    words = torch.randint(0, 5, (ROWS, 2), generator=generator)
    return model, lambda module: module(images, words).square().flatten(1).mean(1)


def measured(model: nn.Module, losses: Callable[[nn.Module], Tensor], widest: int = 64) -> KroneckerCurvature:
    """Return the curvature of a batch."""
    engine = PerSampleGradients(model, dict(model.named_parameters()))
    factors = KroneckerFactors(widest)
    with engine.capture(ROWS, RawSink(engine.parameter_count, ROWS), factors.see):
        losses(model).sum().backward()
    bases = factors.bases()
    sink = RotatedSquaresSink({engine.offsets[name]: found for name, found in bases.items()})
    with engine.capture(ROWS, sink):
        losses(model).sum().backward()
    tensors = {
        name: TensorCurvature(bases[name][0] if name in bases else Eigenbasis(), sink.squares[at] / ROWS)
        for name, at in engine.offsets.items()
    }
    return KroneckerCurvature(tensors, DAMPING)


def solved(model: nn.Module, losses: Callable[[nn.Module], Tensor], curvature: KroneckerCurvature) -> Tensor:
    """Return the gradients of a batch times the inverse curvature, ``[rows, P]``, as a cache makes them."""
    engine = PerSampleGradients(model, dict(model.named_parameters()))
    raw = RawSink(engine.parameter_count, ROWS, dtype=torch.float64)
    with engine.capture(ROWS, SolvedSink(raw, curvature.at(engine.offsets, CPU), curvature.damping)):
        losses(model).sum().backward()
    return raw.gradient


@pytest.mark.parametrize("widest", [64, 6, 1])
def test_queries_are_multiplied_by_the_inverse_of_the_dense_matrix(widest: int) -> None:
    model, losses = network()
    curvature = measured(model, losses, widest)
    gradients = expected(model, "all", losses, ROWS)
    sizes = [parameter.numel() for parameter in model.parameters()]
    parts = zip(model.named_parameters(), gradients.split(sizes, 1), strict=True)
    right = [
        torch.linalg.solve(
            dense(curvature.tensors[name]) + curvature.damping * torch.eye(part.shape[1], dtype=torch.float64), part.mT
        ).mT
        for (name, _), part in parts
    ]
    found = solved(model, losses, curvature)
    assert torch.linalg.vector_norm(found - torch.cat(right, 1)) < 1e-6 * torch.linalg.vector_norm(found)
    sides = {name: set(tensor.basis.tensors()) for name, tensor in curvature.tensors.items()}
    both = {"left", "right"}
    assert sides["grouped.weight"] == sides["norm.weight"] == sides["words.weight"] == sides["linear.bias"] == set()
    wide = {64: [both, both, both], 6: [{"left"}, {"left"}, both], 1: [set(), set(), set()]}[widest]
    assert [sides[f"{name}.weight"] for name in ("strided", "dilated", "linear")] == wide


def test_bases_are_the_eigenvectors_of_activations_and_output_gradients() -> None:
    model, losses = network()
    seen: dict[str, list[Tensor]] = {}

    def keep(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.setdefault("in", []).append(inputs[0].detach())
        output.register_hook(lambda gradient: seen.setdefault("out", []).append(gradient))

    handle = model.linear.register_forward_hook(keep)
    losses(model).sum().backward()
    handle.remove()
    basis = measured(model, losses).tensors["linear.weight"].basis
    for name, side in (("in", basis.right), ("out", basis.left)):
        rows = torch.cat([part.flatten(0, 1) for part in seen[name]])
        turned = side.mT @ (rows.mT @ rows) @ side
        assert torch.allclose(turned, turned.diag().diag(), atol=1e-9 * float(turned.abs().max()))
        assert torch.allclose(side.mT @ side, torch.eye(6, dtype=torch.float64), atol=1e-12)


def test_independent_activations_and_gradients_give_the_product_of_the_factors() -> None:
    """K-FAC's assumption, under which the eigenvalues need no correction: every activation meets every gradient."""
    generator = torch.Generator().manual_seed(2)
    activations = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    answers = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    inputs, outputs = activations.repeat_interleave(7, 0), answers.repeat(5, 1)
    model = nn.Linear(4, 3, bias=False).double()
    engine, factors = PerSampleGradients(model, dict(model.named_parameters())), KroneckerFactors(64)

    def backward(sink: Any, watch: Any = None) -> None:
        with engine.capture(35, sink, watch):
            (model(inputs) * outputs).sum().backward()

    backward(RawSink(12, 35), factors.see)
    (basis, shape) = factors.bases()["weight"]
    squares, raw = RotatedSquaresSink({0: (basis, shape)}), RawSink(12, 35, dtype=torch.float64)
    backward(squares)
    curvature = KroneckerCurvature({"weight": TensorCurvature(basis, squares.squares[0] / 35)}, DAMPING)
    backward(raw)
    product = torch.kron(answers.mT @ answers / 7, activations.mT @ activations / 5)
    assert curvature.mean == pytest.approx(float(product.diag().mean()))
    right = torch.linalg.solve(product + curvature.damping * torch.eye(12, dtype=torch.float64), raw.gradient.mT).mT
    found = curvature.tensors["weight"].solve(raw.gradient, curvature.damping)
    assert torch.linalg.vector_norm(found - right) < 1e-10 * torch.linalg.vector_norm(right)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 2, 3, stride=2, padding=1),
        nn.Conv2d(3, 2, (3, 2), dilation=(1, 2), padding="same", padding_mode="reflect"),
        nn.Conv3d(3, 2, 2, stride=(1, 2, 1), padding=(1, 0, 1)),
    ],
)
def test_patches_make_a_convolution_a_product(layer: Any) -> None:
    images = torch.randn(2, 3, *[6] * len(layer.kernel_size), generator=torch.Generator().manual_seed(0))
    patches = input_patches(layer, images)
    product = (patches @ layer.weight.flatten(1).mT + layer.bias).movedim(-1, 1)
    assert torch.allclose(product, layer(images), atol=1e-5)
