"""Our kernels against those of dattri, on a small linear network in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dmin.attribution.blocks import TensorProducts
from dmin.attribution.methods.datainf import mean_of_inverses
from dmin.attribution.ridge import RidgeKernel

pytest.importorskip("dattri", reason="dattri, of the dev requirements, is not installed")

# dattri takes a module's weight and bias together, and both modules' parameters in order.
LAYERS = [slice(0, 24), slice(24, 39)]
PENALTY = 0.3


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def network(double: None) -> dict[str, Any]:
    """A dattri task of two linear layers, the loaders of both sides, and their gradients ``[n, 39]``."""
    from dattri.task import AttributionTask

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))

    def loss(parameters: Any, batch: Any) -> torch.Tensor:
        inputs, targets = batch
        return ((torch.func.functional_call(model, parameters, inputs) - targets) ** 2).mean()

    found: dict[str, Any] = {"task": AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())}
    for side, count in (("train", 20), ("queries", 4)):
        inputs, targets = (torch.randn(count, width, generator=generator) for width in (5, 3))
        found[f"{side}_loader"] = DataLoader(TensorDataset(inputs, targets), batch_size=count)
        gradients = []
        for row in range(count):
            model.zero_grad()
            ((model(inputs[row]) - targets[row]) ** 2).mean().backward()
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        found[side] = torch.stack(gradients).numpy()
    return found


def test_datainf_is_dattris(network: dict[str, Any]) -> None:
    from dattri.algorithm.influence_function import IFAttributorDataInf

    theirs = IFAttributorDataInf(task=network["task"], regularization=PENALTY)
    theirs.cache(network["train_loader"])
    expected = theirs.attribute(network["train_loader"], network["queries_loader"]).T.detach().numpy()
    ours = sum(
        mean_of_inverses(TensorProducts("layer", q @ g.T, g @ g.T, PENALTY))
        for q, g in ((network["queries"][:, layer], network["train"][:, layer]) for layer in LAYERS)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-10)


def test_trak_is_dattris_without_its_weights(network: dict[str, Any]) -> None:
    from dattri.algorithm.trak import TRAKAttributor

    queries, train = network["queries"], network["train"]
    # Gradients as they are, and a probability of zero, which leaves every sample a weight of one.
    theirs = TRAKAttributor(
        task=network["task"],
        correct_probability_func=lambda parameters, batch: torch.zeros(()),
        projector_kwargs={"proj_type": "identity", "proj_dim": 39},
        regularization=0.01,
    )
    theirs.cache(network["train_loader"])
    expected = theirs.attribute(network["queries_loader"]).T.detach().numpy()
    kernel = RidgeKernel(train @ train.T)
    # It divides gradients by the root of their number, so that its lambda is ours over that number.
    ours = kernel.solve(queries @ train.T, 0.01 * train.shape[1] / kernel.scale)
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)
