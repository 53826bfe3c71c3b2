"""What every sample was last trained with before a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from dmin.models.training.batch import logged_noise
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet


@dataclass(frozen=True)
class Replay:
    """The last row of the training log of each sample up to a checkpoint, in the order of the samples."""

    entries: pd.DataFrame

    @classmethod
    def load(cls, path: Path, ids: Sequence[str], step: int) -> Replay:
        """Read the entries of the samples ``ids`` up to the update ``step``.

        Raises:
            UserError: a sample was not seen by then.
        """
        seen = read_parquet(path, filters=[("step", "<=", step)])
        last = seen.drop_duplicates("sample_id", keep="last").set_index("sample_id")
        missing = [sample for sample in ids if sample not in last.index]
        if missing:
            raise UserError(
                f"Sample '{missing[0]}' was not trained on before checkpoint {step}; name a later step in "
                "train.checkpoints."
            )
        return cls(last.loc[list(ids)].reset_index())

    @property
    def timesteps(self) -> list[int]:
        """The timestep of every sample."""
        return [int(timestep) for timestep in self.entries["timestep"]]

    def noise(self, places: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
        """Draw the noises ``[len(places), *shape]`` of the samples at ``places`` again."""
        rows = self.entries.iloc[list(places)].to_dict("records")
        return torch.stack([logged_noise({str(key): value for key, value in row.items()}, shape) for row in rows])

    def dropped(self, places: Sequence[int]) -> torch.Tensor:
        """Say which of the samples at ``places`` were trained with the empty prompt, bool ``[len(places)]``."""
        return torch.tensor(self.entries["dropped"].to_numpy()[list(places)])

    def flipped(self, places: Sequence[int]) -> torch.Tensor:
        """Say which of the samples at ``places`` were mirrored left to right, bool ``[len(places)]``."""
        if "flipped" not in self.entries:
            return torch.zeros(len(places), dtype=torch.bool)
        return torch.tensor(self.entries["flipped"].to_numpy()[list(places)])
