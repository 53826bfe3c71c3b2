"""The engine: reuse, sharing, fallback, completeness and refusals."""

from __future__ import annotations

import weakref

import pytest
import torch
from gradient_oracle import Losses, captured, check
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dmin.gradients.engine import PerSampleGradients
from dmin.gradients.raw_sink import RawSink
from dmin.gradients.selection import select_parameters
from dmin.runtime.errors import UserError

BATCH = 3


def _inputs(*shape: int) -> Tensor:
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _losses(inputs: Tensor) -> Losses:
    return lambda model: model(inputs).flatten(1).pow(3).mean(1)


class _Reused(nn.Module):
    """Calls one layer twice, shares a weight between two layers and leaves one call unused."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)
        self.shared = nn.Linear(4, 4, bias=False)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.shared.weight

    def forward(self, values: Tensor) -> Tensor:
        self.twice(values + 1)
        return self.tied(torch.tanh(self.shared(torch.tanh(self.twice(torch.tanh(self.twice(values)))))))


class _BareParameters(nn.Module):
    """Owns parameters without a layer, beside a layer with a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))
        self.shifts = nn.ParameterDict({"one": nn.Parameter(torch.randn(4))})
        self.inner = nn.Linear(4, 4)

    def forward(self, values: Tensor, *, power: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.inner(values) * self.scale
        return hidden + self.shifts["one"], {"hidden": hidden, "power": hidden**power}


class _Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bare = _BareParameters()

    def forward(self, values: Tensor) -> Tensor:
        first, rest = self.bare(values, power=3)
        return first + rest["hidden"].sin() + rest["power"]


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        return self.attention(values, values, values, need_weights=False)[0]


class _Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.LayerNorm(4))

    def forward(self, values: Tensor) -> Tensor:
        return checkpoint(self.block, self.first(values), use_reentrant=False)


@pytest.mark.parametrize("build", [_Reused, _Outer, _Attention, _Checkpointed])
def test_unusual_modules_agree_with_autograd(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    check(build().double(), _losses(_inputs(5, 4)), BATCH)


def test_a_square_attention_input_is_not_mistaken_for_its_batch() -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(4, 2).double()
    values = _inputs(BATCH, 4)
    with pytest.raises(UserError, match="no per-sample gradient"):
        captured(model, "all", lambda m: m(values, values, values)[0].flatten(1).sum(1), BATCH)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_adapters_agree_with_autograd(dora: bool) -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Conv1d(5, 5, 1))
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["0"], init_lora_weights=False, use_dora=dora)
    model = get_peft_model(base, config).double().eval()
    check(model, _losses(_inputs(5, 4)), BATCH, selection="adapter")
    engine = PerSampleGradients(model, select_parameters(model, "adapter"))
    assert [row.path for row in engine.coverage] == (["autograd"] if dora else ["linear"])


def test_coverage_accounts_for_every_parameter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.PReLU(4), nn.Flatten(), nn.Linear(16, 2))
    engine = PerSampleGradients(model, select_parameters(model, "all"))
    rows = {row.path: row for row in engine.coverage}
    assert {path: (row.tensors, row.parameters) for path, row in rows.items()} == {
        "conv": (2, 112),
        "group_norm": (2, 8),
        "autograd": (1, 4),
        "linear": (2, 34),
    }
    assert sum(row.parameters for row in engine.coverage) == engine.parameter_count
    assert sum(row.share for row in engine.coverage) == pytest.approx(1.0)


def test_offsets_follow_the_model_order_whatever_the_order_given() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    named = select_parameters(model, "all")
    engine = PerSampleGradients(model, dict(reversed(named.items())))
    assert engine.offsets == {"0.weight": 0, "0.bias": 6, "1.weight": 9, "1.bias": 12}
    assert engine.parameter_count == 13


def test_frozen_modules_are_not_hooked_and_the_flags_come_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    engine = PerSampleGradients(model, select_parameters(model, "regex:^1"))
    sink = RawSink(engine.parameter_count, BATCH)
    with engine.capture(BATCH, sink):
        assert [len(layer._forward_hooks) for layer in model] == [0, 1, 0]
        model(torch.randn(BATCH, 4)).square().sum().backward()
    assert [layer.weight.requires_grad for layer in model] == [False, True, False]
    assert all(not layer._forward_hooks for layer in model)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_each_tensor_is_delivered_once() -> None:
    model = _Reused()
    engine = PerSampleGradients(model, select_parameters(model, "all"))

    class Counting:
        def __init__(self) -> None:
            self.offsets: list[int] = []

        def add(self, offset: int, gradient: Tensor) -> None:
            assert gradient.shape[0] == BATCH
            self.offsets.append(offset)

    sink = Counting()
    with engine.capture(BATCH, sink):
        model(_inputs(4).float()).sum().backward()
    assert sorted(sink.offsets) == sorted(engine.offsets.values())


def test_memory_is_one_tensor_of_per_sample_gradients_and_activations_go() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    engine = PerSampleGradients(model, select_parameters(model, "all"))
    addresses, activations = set(), []
    model[2].register_forward_pre_hook(lambda _, args: activations.append(weakref.ref(args[0])))

    class Watching:
        def add(self, offset: int, gradient: Tensor) -> None:
            if gradient.shape[1] > 16:
                addresses.add(gradient.data_ptr())

    with engine.capture(BATCH, Watching()):
        losses = model(torch.randn(BATCH, 5, 8)).square().flatten(1).sum(1)
        assert activations[0]() is not None
        losses.sum().backward()
        assert activations[0]() is None
    # Backward meets the smallest weight first, so the buffer grows once.
    assert len(addresses) <= 2


def _capture(model: nn.Module, inputs: Tensor, batch: int = BATCH) -> None:
    engine = PerSampleGradients(model, select_parameters(model, "all"))
    with engine.capture(batch, RawSink(engine.parameter_count, batch)):
        model(inputs).sum().backward()


class _Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        hidden = values * 1.0
        result = self.layer(hidden)
        hidden.add_(1.0)
        return result


class _Skipping(nn.Sequential):
    def forward(self, values: Tensor) -> Tensor:
        return self[0](values)


class _Transposing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        return self.layer(values.flatten(0, 1))


class _Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, values: Tensor) -> Tensor:
        return (values - values.mean(0)) * self.scale


@pytest.mark.parametrize(
    ("model", "shape", "hint"),
    [
        (_Overwriting(), (4,), "'layer' was overwritten"),
        (_Skipping(nn.Linear(4, 4), nn.Linear(4, 4)), (4,), "2 of 4 selected tensors, first '1.weight'"),
        (_Transposing(), (5, 4), "'layer' works on a tensor of shape"),
        (_Centred(), (4,), "no per-sample gradient"),
        (nn.Sequential(nn.BatchNorm1d(4)), (4, 5), "'0' gives a sample another output"),
    ],
)
def test_what_cannot_be_exact_is_refused(model: nn.Module, shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        _capture(model, _inputs(*shape).float())
    assert "\n" not in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_parameters_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="not parameters of the model"):
        PerSampleGradients(nn.Linear(2, 2), dict(nn.Linear(2, 2).named_parameters()))


def test_in_place_operations_after_a_layer_change_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))
    check(model.double(), _losses(_inputs(3, 5, 5)), BATCH)
