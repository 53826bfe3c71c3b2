"""Every layer rule against autograd, one sample at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers.models.normalization import RMSNorm
from gradient_oracle import captured, check, expected, worst_relative_error
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5LayerNorm

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.selection import select_parameters

BATCH = 3


def _image(channels: int) -> Tensor:
    return torch.randn(BATCH, channels, 7, 6)


def _tokens(width: int) -> Tensor:
    return torch.randn(BATCH, 5, width)


LAYERS: dict[str, tuple[str, Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear on tokens": ("linear", lambda: nn.Linear(4, 6), lambda: _tokens(4)),
    "linear on one vector": ("linear", lambda: nn.Linear(4, 6), lambda: torch.randn(BATCH, 4)),
    "linear on a grid": ("linear", lambda: nn.Linear(4, 6, bias=False), lambda: torch.randn(BATCH, 2, 3, 4)),
    "conv": ("conv", lambda: nn.Conv2d(4, 6, 3), lambda: _image(4)),
    "conv padded": ("conv", lambda: nn.Conv2d(4, 6, 3, padding=1), lambda: _image(4)),
    "conv strided": ("conv", lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=(2, 1)), lambda: _image(4)),
    "conv dilated": ("conv", lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2), lambda: _image(4)),
    "conv grouped": ("conv", lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), lambda: _image(4)),
    "conv depthwise": ("conv", lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), lambda: _image(4)),
    "conv 1x1": ("conv", lambda: nn.Conv2d(4, 6, 1), lambda: _image(4)),
    "conv 1x1 strided": ("conv", lambda: nn.Conv2d(4, 6, 1, stride=2), lambda: _image(4)),
    "conv 1x1 grouped": ("conv", lambda: nn.Conv2d(4, 6, 1, groups=2), lambda: _image(4)),
    "conv padded to same": ("conv", lambda: nn.Conv2d(4, 6, (3, 5), padding="same"), lambda: _image(4)),
    "conv circular": (
        "conv",
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        lambda: _image(4),
    ),
    "conv channels last": (
        "conv",
        lambda: nn.Conv2d(4, 6, 3, padding=1),
        lambda: _image(4).to(memory_format=torch.channels_last),
    ),
    "conv 1d": ("conv", lambda: nn.Conv1d(4, 6, 3, padding=1), lambda: torch.randn(BATCH, 4, 9)),
    "conv 3d": ("conv", lambda: nn.Conv3d(2, 3, 2), lambda: torch.randn(BATCH, 2, 3, 4, 3)),
    "group norm": ("group_norm", lambda: nn.GroupNorm(2, 4), lambda: _image(4)),
    "group norm on vectors": ("group_norm", lambda: nn.GroupNorm(2, 8), lambda: torch.randn(BATCH, 8)),
    "layer norm": ("layer_norm", lambda: nn.LayerNorm(4), lambda: _tokens(4)),
    "layer norm on vectors": ("layer_norm", lambda: nn.LayerNorm(4), lambda: torch.randn(BATCH, 4)),
    "layer norm on two axes": ("layer_norm", lambda: nn.LayerNorm([5, 4], bias=False), lambda: _tokens(4)),
    "rms norm": ("rms_norm", lambda: nn.RMSNorm(4), lambda: _tokens(4)),
    "rms norm of diffusers": ("rms_norm", lambda: RMSNorm(4, 1e-6, bias=True), lambda: _tokens(4)),
    "rms norm of transformers": ("rms_norm", lambda: T5LayerNorm(4), lambda: _tokens(4)),
    "embedding": ("embedding", lambda: nn.Embedding(7, 4), lambda: torch.randint(7, (BATCH, 5))),
    "embedding of one index": ("embedding", lambda: nn.Embedding(7, 4), lambda: torch.randint(7, (BATCH,))),
    "embedding padded": (
        "embedding",
        lambda: nn.Embedding(4, 3, padding_idx=1),
        lambda: torch.tensor([[0, 1, 2], [1, 1, 3], [3, 3, 1]]),
    ),
    "transposed conv": ("autograd", lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), lambda: _image(4)),
    "bilinear": (
        "autograd",
        lambda: _Squared(nn.Bilinear(4, 4, 6)),
        lambda: _tokens(4),
    ),
    "learned slope": ("autograd", lambda: nn.PReLU(4), lambda: _image(4)),
    "sparse embedding": ("autograd", lambda: nn.Embedding(7, 4, sparse=True), lambda: torch.randint(7, (BATCH, 5))),
    "linear of a subclass": ("autograd", lambda: _Doubled(4, 6), lambda: _tokens(4)),
    "batch norm in eval mode": ("autograd", lambda: nn.BatchNorm2d(4), lambda: _image(4)),
}


class _Squared(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: Tensor) -> Tensor:
        return self.inner(values, values)


class _Doubled(nn.Linear):
    def forward(self, values: Tensor) -> Tensor:
        return 2 * super().forward(values)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("leads", [False, True], ids=["inside", "first"])
def test_layer_agrees_with_autograd(name: str, leads: bool) -> None:
    path, build, make = LAYERS[name]
    torch.manual_seed(0)
    layer = build().double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    inputs = make()
    if inputs.is_floating_point():
        inputs = inputs.double().requires_grad_(not leads)

    def losses(model: nn.Module) -> Tensor:
        return torch.sin(model(inputs)).flatten(1).square().mean(1)

    check(layer, losses, BATCH, selection="all")
    engine = PerSampleGradients(layer, select_parameters(layer, "all"))
    assert [row.path for row in engine.coverage] == [path]
    assert all(parameter.grad is None for parameter in layer.parameters())


@pytest.mark.parametrize("name", [name for name in LAYERS if LAYERS[name][0] != "autograd"])
def test_layer_agrees_in_single_precision(name: str) -> None:
    _, build, make = LAYERS[name]
    torch.manual_seed(0)
    layer = build()
    inputs = make()

    def losses(model: nn.Module) -> Tensor:
        values = inputs
        if inputs.is_floating_point():
            values = inputs.to(next(model.parameters()).dtype)
        return model(values).flatten(1).pow(4).mean(1)

    single = captured(layer, "all", losses, BATCH)
    assert worst_relative_error(single, expected(layer.double(), "all", losses, BATCH)) <= 1e-5


def test_selecting_only_a_bias_leaves_the_weight_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6)).double()
    inputs = _image(4).double()
    check(model, lambda m: m(inputs).flatten(1).pow(3).mean(1), BATCH, selection="regex:bias")
