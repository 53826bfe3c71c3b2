"""The one conversion between pixels and tensors."""

from __future__ import annotations

import numpy as np
import torch


def pixels_to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Convert uint8 ``[..., height, width, channels]`` to float32 ``[..., channels, height, width]`` in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32)
    return tensor.movedim(-1, -3) / 127.5 - 1.0


def tensor_to_pixels(tensor: torch.Tensor) -> np.ndarray:
    """Convert float ``[..., channels, height, width]`` in [-1, 1] to uint8 ``[..., height, width, channels]``."""
    pixels = ((tensor.float().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return pixels.movedim(-3, -1).cpu().numpy()
