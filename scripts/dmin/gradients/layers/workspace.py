"""Memory that per-sample gradients are written to."""

from __future__ import annotations

import torch


class Workspace:
    """One buffer, as large as the largest request, handed out again for every tensor.

    Fresh pages cost as much as the matrix product that fills them, so the buffer is kept between captures.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def take(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Return an uninitialised contiguous tensor of ``shape`` on the device and dtype of ``like``.

        The previous tensor taken for that device and dtype becomes invalid.
        """
        size = 1
        for length in shape:
            size *= length
        key = (like.device, like.dtype)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(key, None)
            del buffer
            buffer = torch.empty(size, device=like.device, dtype=like.dtype)
            self._buffers[key] = buffer
        return buffer[:size].view(shape)
