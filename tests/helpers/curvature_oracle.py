"""What a curvature in factored form is checked against: the whole matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from dmin.gradients.curvature import TensorCurvature


def dense(curvature: TensorCurvature) -> Tensor:
    """Return the matrix of a tensor's curvature, ``[numel, numel]``."""
    height, width = curvature.values.shape
    left, right = curvature.basis.left, curvature.basis.right
    eye = [torch.eye(size, dtype=torch.float64) for size in (height, width)]
    vectors = torch.kron(eye[0] if left is None else left, eye[1] if right is None else right)
    return vectors @ torch.diag(curvature.values.flatten()) @ vectors.mT
