"""Resumable training state in safetensors and JSON: no pickle, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


class TrainingState:
    """The weights, optimiser moments and step of a training run, in one file of a sidecar folder.

    Every random draw of a step is seeded by (seed, step), so no generator state is kept: a run that resumes from
    step ``s`` continues exactly as an uninterrupted one. The folder is keyed by a digest of everything the result
    depends on, so a changed config starts afresh.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = folder / digest / "state.safetensors"

    def save(self, step: int, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], log: Any) -> None:
        """Write the state after ``step`` finished steps; the previous state survives a kill at any moment."""
        payload = {f"tensor/{name}": value.detach().contiguous().cpu() for name, value in tensors.items()}
        for index, entry in optimizer.state_dict()["state"].items():
            for name, value in entry.items():
                payload[f"optimizer/{index}/{name}"] = torch.as_tensor(value).detach().contiguous().cpu()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        save_file(payload, temporary, metadata={"step": str(step), "log": json.dumps(log)})
        temporary.replace(self.path)

    def load(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], log: Any) -> tuple[int, Any]:
        """Copy a saved state into ``tensors`` and ``optimizer``; return the finished steps and the saved log.

        Returns ``(0, log)`` where nothing was saved.
        """
        if not self.path.exists():
            return 0, log
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata()
            with torch.no_grad():
                for name, target in tensors.items():
                    target.copy_(file.get_tensor(f"tensor/{name}"))
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 (safe_open is not a mapping)
                if key.startswith("optimizer/"):
                    _, index, name = key.split("/", 2)
                    state.setdefault(int(index), {})[name] = file.get_tensor(key)
        restored = optimizer.state_dict()
        restored["state"] = state
        optimizer.load_state_dict(restored)
        return int(metadata["step"]), json.loads(metadata["log"])

    def discard(self) -> None:
        """Remove the state once the final result stands."""
        self.path.unlink(missing_ok=True)
        for folder in (self.path.parent, self.path.parent.parent):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
