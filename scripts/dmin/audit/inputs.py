"""The files that an audit reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmin.attribution.gradient_files import GradientFiles


@dataclass(frozen=True)
class SplitInputs:
    """The files of a split: its table, features, losses and gradients, and how alike images and captions are."""

    table: Path
    features: Path
    losses: Path
    gradients: GradientFiles
    similarity: Path | None = None


@dataclass(frozen=True)
class AuditInputs:
    """Everything that an audit reads.

    Attributes:
        train: the training set.
        test: the test set; None where there is none.
        queries: the gradients of the queries.
        norms: the shards whose norms self-influence is, by its column.
        sources: the data set's, by name.
    """

    train: SplitInputs
    test: SplitInputs | None
    queries: GradientFiles
    norms: Mapping[str, Sequence[Path]]
    sources: Mapping[str, Path]

    @classmethod
    def of(cls, files: Mapping[str, Any], norms: Sequence[str], sources: Sequence[str]) -> AuditInputs:
        """Return them from a rule's inputs.

        Args:
            files: by name: of a split its table, and ``{split}_features`` and so on; shards and sources are lists.
            norms: the names of those whose norms are self-influence.
            sources: the names of the sources, in order.
        """

        def gradients(name: str) -> GradientFiles:
            return GradientFiles.of(files[f"{name}_shards"], files[f"{name}_sketch"])

        def split(name: str) -> SplitInputs:
            similarity = files.get(f"{name}_similarity")
            return SplitInputs(
                Path(files[name]),
                Path(files[f"{name}_features"]),
                Path(files[f"{name}_losses"]),
                gradients(name),
                Path(similarity) if similarity else None,
            )

        splits = {name: split(name) for name in ("train", "test") if name in files}
        return cls(
            splits["train"],
            splits.get("test"),
            gradients("queries"),
            {name: [Path(shard) for shard in files[name]] for name in norms},
            dict(zip(sources, map(Path, files["sources"]), strict=True)),
        )
