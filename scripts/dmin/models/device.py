"""The device that heavy work runs on."""

from __future__ import annotations

import torch

from dmin.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        UserError: ``cuda`` is asked for and none is usable.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is cuda, but no GPU is usable here; set it to cpu or auto.")
    return torch.device(name)
