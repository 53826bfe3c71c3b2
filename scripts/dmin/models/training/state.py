"""Resumable training state in safetensors and JSON: no pickle, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmin.runtime.atomic import atomic_path
from dmin.runtime.temporaries import remove_if_empty

log = logging.getLogger(__name__)


class TrainingState:
    """The weights, optimiser moments and step of a training run, in one file of a sidecar folder.

    Every random draw of a step is seeded by (seed, step), so no generator state is kept: a run that resumes from
    step ``s`` continues exactly as an uninterrupted one. The folder is keyed by a digest of everything the result
    depends on, so a changed config starts afresh. A state that is torn or fails its checksum is left out, with a
    warning. ``attempts`` is the place for a note of the attempts to go on from it.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = folder / digest / "state.safetensors"
        self.attempts = self.path.with_name("attempts.json")

    def save(self, step: int, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], log: Any) -> None:
        """Write the state after ``step`` finished steps; the previous state survives a kill at any moment."""
        payload = {f"tensor/{name}": value.detach().contiguous().cpu() for name, value in tensors.items()}
        for index, entry in optimizer.state_dict()["state"].items():
            for name, value in entry.items():
                payload[f"optimizer/{index}/{name}"] = torch.as_tensor(value).detach().contiguous().cpu()
        text = json.dumps({"step": step, "log": log})
        # One key, as in a shard: the digest covers the tensors and the text after it.
        metadata = {"state": f"{_digest(payload, text)} {text}"}
        with atomic_path(self.path) as temporary:
            save_file(payload, temporary, metadata=metadata)

    def load(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], log: Any) -> tuple[int, Any]:
        """Copy a saved state into ``tensors`` and ``optimizer``; return the finished steps and the saved log.

        Returns ``(0, log)`` where nothing was saved, or nothing whole.
        """
        payload, facts = self._read()
        if facts is None:
            return 0, log
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in payload.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/", 2)
                state.setdefault(int(index), {})[name] = value
        with torch.no_grad():
            for name, target in tensors.items():
                target.copy_(payload[f"tensor/{name}"])
        restored = optimizer.state_dict()
        restored["state"] = state
        optimizer.load_state_dict(restored)
        return facts["step"], facts["log"]

    def step(self) -> int:
        """Return the finished steps of the saved state, 0 where nothing was saved or nothing whole."""
        return 0 if (facts := self._read()[1]) is None else facts["step"]

    def _read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
        if not self.path.exists():
            return {}, None
        try:
            with safe_open(self.path, framework="pt") as file:
                digest, _, text = file.metadata()["state"].partition(" ")
                payload = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            if digest != _digest(payload, text):
                raise ValueError("it fails the checksum")
            return payload, json.loads(text)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("starting afresh: the saved state '%s' is torn (%s)", self.path, error)
            return {}, None

    def discard(self) -> None:
        """Remove the state once the final result stands."""
        self.path.unlink(missing_ok=True)
        self.attempts.unlink(missing_ok=True)
        for folder in (self.path.parent, self.path.parent.parent):
            remove_if_empty(folder)


def _digest(payload: Mapping[str, torch.Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(payload):
        digest.update(name.encode())
        digest.update(payload[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
