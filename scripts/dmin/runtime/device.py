"""The device that heavy work runs on."""

from __future__ import annotations

import torch

from dmin.runtime.errors import UserError
from dmin.runtime.gpu_slot import take_gpu, visible_gpus


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Where this process sees several GPUs, it takes one that no other process has, and makes it PyTorch's current one.

    Raises:
        UserError: ``cuda`` is asked for and none is usable.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is cuda, but no GPU is usable here; set it to cpu or auto.")
    if name == "cuda" and (count := torch.cuda.device_count()) > 1:
        device = torch.device("cuda", take_gpu(visible_gpus(count)))
        torch.cuda.set_device(device)
        return device
    return torch.device(name)
