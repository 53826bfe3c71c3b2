"""Products with the Gauss-Newton matrix of the training loss, for many vectors at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dmin.gradients.attributed_networks import AttributedNetworks
from dmin.models.encoded import EncodedSamples
from dmin.runtime.seeds import derive_generator

POWER_STEPS = 12


class _Predictor(nn.Module):
    """The denoiser's output as a function of the attributed networks' parameters."""

    def __init__(self, attributed: AttributedNetworks) -> None:
        super().__init__()
        self.attributed = attributed
        self.network = attributed.network

    def forward(self, latents: Tensor, noise: Tensor, timesteps: Tensor, given: dict[str, Tensor]) -> Tensor:
        conditioning = self.attributed.condition(given)
        return self.attributed.family.predict(latents, noise, timesteps, conditioning).float()


class GaussNewton:
    """Estimates ``G = E[2 / E J^T J]``, the curvature of the mean squared error over E output elements.

    ``J`` is the Jacobian of the denoiser's output in the selected parameters. Every draw is a minibatch of training
    samples with uniform timesteps and fresh noise, seeded by its number, so that all queries meet the same draws
    however they are batched. ``G`` is positive semidefinite, which the Hessian is not.

    Args:
        batch: samples of a draw.
    """

    def __init__(
        self,
        attributed: AttributedNetworks,
        samples: EncodedSamples,
        batch: int,
        seed: int,
    ) -> None:
        parameters = attributed.parameters
        self._predictor = _Predictor(attributed)
        self._parameters = {f"network.{name}": value.detach() for name, value in parameters.items()}
        self._given = attributed.read_of(samples)
        self._samples = samples
        self._batch = min(batch, len(samples.ids))
        self._seed = seed
        self._device = attributed.family.device
        self.parameter_count = sum(value.numel() for value in parameters.values())

    def product(self, vectors: Tensor, draw: int, chunk: int) -> Tensor:
        """Return ``G_draw h`` of the rows of ``vectors [m, P]``, ``chunk`` rows at a time, ``[m, P]`` fp32."""
        output = self._output(draw)
        # Forward-mode derivatives exist for the plain attention kernel alone.
        with sdpa_kernel([SDPBackend.MATH]):
            value, pull = vjp(output, self._parameters)  # type: ignore[misc]
            scale = 2 / value.numel()

            def one(vector: Tensor) -> Tensor:
                _, change = jvp(output, (self._parameters,), (self._unflatten(vector),))  # type: ignore[misc]
                (gradient,) = pull(change)
                return scale * torch.cat([gradient[name].flatten() for name in self._parameters])

            return vmap(one, chunk_size=chunk)(vectors)

    def largest_eigenvalue(self, draws: int) -> float:
        """Return the largest eigenvalue over the first ``draws`` draws, each by power iteration."""
        found = 0.0
        for draw in range(draws):
            start = torch.randn(1, self.parameter_count, generator=derive_generator(self._seed, "power", draw))
            vector, length = start.to(self._device), torch.ones(())
            for _ in range(POWER_STEPS):
                vector = self.product(vector / torch.linalg.vector_norm(vector), draw, 1)
                length = torch.linalg.vector_norm(vector)
                if length == 0:
                    break
            found = max(found, float(length))
        return found

    def _output(self, draw: int) -> Callable[[dict[str, Tensor]], Tensor]:
        generator = derive_generator(self._seed, "gauss_newton", draw)
        index = torch.randperm(len(self._samples.ids), generator=generator)[: self._batch]
        timesteps = torch.randint(0, 1000, (len(index),), generator=generator)
        noise = torch.randn(self._samples.latents[index].shape, generator=generator)
        given = {name: value[index].to(self._device) for name, value in self._given.items()}
        inputs = (
            self._samples.latents[index].to(self._device),
            noise.to(self._device),
            timesteps.to(self._device),
            given,
        )
        return lambda parameters: functional_call(self._predictor, parameters, inputs)

    def _unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        sizes = [value.numel() for value in self._parameters.values()]
        parts = zip(self._parameters.items(), vector.split(sizes), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}
