"""The bases of a Kronecker-factored curvature, and the squares of gradients in them, while the gradients arrive."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dmin.gradients.curvature import Eigenbasis
from dmin.gradients.layers.conv import Convolution, input_patches
from dmin.gradients.layers.product import widen
from dmin.gradients.sites import Site

# Values of unfolded activations that are held at once.
_UNFOLDED = 2**24


class KroneckerFactors:
    """Sums ``B = sum g g^T`` and ``A = sum a a^T`` over samples and positions, of every affine layer's weight.

    ``a [I]`` enters a layer at a position (a token, or a patch of a convolution), and ``g [O]`` is the gradient of the
    loss by what leaves it there. Tensors of grouped convolutions and of other modules have none; a side wider than
    ``widest`` has none either. Uses of one tensor by several calls or modules are summed.

    Source: Martens and Grosse 2015, K-FAC; Grosse and Martens 2016, of convolutions.
    """

    def __init__(self, widest: int) -> None:
        self._widest = widest
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._shapes: dict[str, tuple[int, int]] = {}

    def see(self, site: Site, activation: Tensor, gradient: Tensor) -> None:
        """Take what meets at one call of a module, each ``[batch, ...]``."""
        name, module = site.names.get("weight"), site.module
        if name is None or not _is_affine(site):
            return
        weight = module.get_parameter("weight")
        self._shapes[name] = height, width = weight.shape[0], weight[0].numel()
        convolution = module if isinstance(module, Convolution) else None
        if height <= self._widest:
            self._add(name, "left", gradient if convolution is None else gradient.movedim(1, -1))
        if width > self._widest:
            return
        if convolution is None:
            self._add(name, "right", activation)
            return
        rows = max(1, _UNFOLDED // (width * gradient[0, 0].numel()))
        for part in activation.split(rows):
            self._add(name, "right", input_patches(convolution, part))

    def _add(self, name: str, side: str, vectors: Tensor) -> None:
        flat = widen(vectors.detach()).reshape(-1, vectors.shape[-1])
        total = self._sums.get((name, side))
        self._sums[name, side] = flat.mT @ flat if total is None else total.addmm_(flat.mT, flat)

    def bases(self) -> dict[str, tuple[Eigenbasis, tuple[int, int]]]:
        """Return the eigenvectors of both factors, and the shape ``(O, I)``, of every tensor that was seen.

        The sums are let go of as they are solved.
        """
        return {
            name: (Eigenbasis(self._solve(name, "left"), self._solve(name, "right")), shape)
            for name, shape in self._shapes.items()
        }

    def _solve(self, name: str, side: str) -> Tensor | None:
        total = self._sums.pop((name, side), None)
        if total is None:
            return None
        return torch.linalg.eigh(total.double()).eigenvectors.to(total.dtype).contiguous()


def _is_affine(site: Site) -> bool:
    return site.path == "linear" or (site.path == "conv" and getattr(site.module, "groups", 1) == 1)


class RotatedSquaresSink:
    """Sums the squares of each tensor's gradient in its bases over rows: ``squares [O, I]`` by offset."""

    def __init__(self, bases: Mapping[int, tuple[Eigenbasis, tuple[int, int]]]) -> None:
        """Take the bases and the shape of the tensor at each offset; other tensors are taken as they come."""
        self._bases = bases
        self.squares: dict[int, Tensor] = {}

    def add(self, offset: int, gradient: Tensor) -> None:
        """Take the gradient ``[rows, numel]`` of the tensor that starts at ``offset``."""
        basis, shape = self._bases.get(offset, (Eigenbasis(), (1, gradient.shape[1])))
        total = basis.rotate(gradient, shape).square().sum(0)
        known = self.squares.get(offset)
        self.squares[offset] = total if known is None else known.add_(total)
