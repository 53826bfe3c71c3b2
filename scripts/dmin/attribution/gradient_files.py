"""The files that hold the gradients of queries and training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmin.attribution.gradient_rows import GradientRows


@dataclass(frozen=True)
class GradientFiles:
    """The files of one side's gradients.

    Attributes:
        shards: the split's shards, which hold the norms.
        sketch: the gradients compressed to one width; None for the uncompressed ones of the shards.
    """

    shards: Sequence[Path]
    sketch: Path | None = None

    @classmethod
    def of(cls, shards: Sequence[str], read: str | Sequence[str]) -> GradientFiles:
        """Return the files of a rule's inputs; what is ``read`` is one sketch, or once more the list of shards."""
        return cls([Path(shard) for shard in shards], Path(read) if isinstance(read, str) else None)

    def read(self) -> GradientRows:
        """Open the files.

        Raises:
            UserError: a file is torn, or the files' settings or samples differ.
        """
        return GradientRows(self.shards, self.sketch)


@dataclass(frozen=True)
class GradientSides:
    """The gradients of both sides of a score, and of held-out images where there are any to compare with.

    ``threads`` read the training side.
    """

    queries: GradientFiles
    train: GradientFiles
    held_out: GradientFiles | None = None
    threads: int = 1

    def read(self) -> tuple[GradientRows, GradientRows]:
        """Open the files of the queries and of the training samples.

        Raises:
            UserError: a file is torn, or the files' settings or samples differ.
        """
        queries, train = self.queries.read(), self.train.read()
        train.threads = self.threads
        return queries, train


def split_checkpoints(shards: Sequence[str], sketches: Sequence[str]) -> list[GradientFiles]:
    """Return the files of each checkpoint; ``shards`` and ``sketches`` hold those of all, checkpoint by checkpoint."""
    each = len(shards) // len(sketches)
    return [
        GradientFiles([Path(shard) for shard in shards[place * each : (place + 1) * each]], Path(sketch))
        for place, sketch in enumerate(sketches)
    ]
