"""The files that the explorer of a run is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from dmin.attribution.gradient_files import GradientFiles
from dmin.attribution.score_matrix import ScoreMatrix
from dmin.audit.report import read_samples_table
from dmin.data.samples import read_samples
from dmin.figures.contributor_page import Played
from dmin.figures.explorer_contributors import read_contributed
from dmin.figures.explorer_data import About, Audited, Beside, listed_samples
from dmin.figures.explorer_rankings import Ranked, ranks_shown, shown_samples
from dmin.figures.explorer_space import PAGE, Space
from dmin.figures.projection import Projection, project_features, project_gradients
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_csv


@dataclass(frozen=True)
class ExplorerFiles:
    """What a run may have beside its rankings; None what it has not.

    Attributes:
        gradients: compressed gradients of training images and of queries.
        features: of the training images, in the order of their table.
        audit: its issues and its table of samples.
        parts: influence maps.
        games: games, the players of each, and what these gave, which may be none.
    """

    gradients: tuple[GradientFiles, GradientFiles] | None = None
    features: Path | None = None
    audit: tuple[Path, Path] | None = None
    parts: Path | None = None
    games: Sequence[tuple[Played, Path, Path | None]] = ()

    @classmethod
    def of(cls, files: Mapping[str, Any], games: Sequence[Mapping[str, Any]] = ()) -> Self:
        """Return them from a rule's inputs.

        Args:
            files: ``{train,asked}_{sketch,shards}, features, issues, measured, parts, players, contributions``, what
                there is of them.
            games: ``game, behaviours, measured`` of each whose ``players`` are there, and its ``contributions`` where
                it is ``measured``.
        """
        contributions = iter(_listed(files, "contributions"))
        played = [
            (
                Played(game["game"], game["behaviours"]),
                Path(players),
                Path(next(contributions)) if game["measured"] else None,
            )
            for game, players in zip(games, _listed(files, "players"), strict=True)
        ]

        def gradients(split: str) -> GradientFiles:
            return GradientFiles.of(files[f"{split}_shards"], files[f"{split}_sketch"])

        return cls(
            (gradients("train"), gradients("asked")) if "train_sketch" in files else None,
            Path(files["features"]) if "features" in files else None,
            (Path(files["issues"]), Path(files["measured"])) if "issues" in files else None,
            Path(files["parts"]) if "parts" in files else None,
            played,
        )


def _listed(files: Mapping[str, Any], role: str) -> list[str]:
    """Return the files of a role; Snakemake gives a list of one as itself."""
    given = files.get(role, [])
    return [given] if isinstance(given, str) else list(given)


def read_rankings(labels: Sequence[str], tops: Sequence[str], scores: Sequence[str]) -> dict[str, Ranked]:
    """Return the rankings by label, of lists and scores in one order.

    Raises:
        UserError: a file is torn.
    """
    return {
        label: Ranked(read_parquet(Path(top)), ScoreMatrix.read(Path(matrix)))
        for label, top, matrix in zip(labels, tops, scores, strict=True)
    }


def read_beside(
    files: ExplorerFiles, train: Path, rankings: Mapping[str, Ranked], about: About, space: Space = PAGE
) -> Beside:
    """Read what a run has beside its rankings, and project what the page lists of it.

    Maps have the axes of what one page lists, however much more there is ``space`` for: so they take no more memory.

    Raises:
        UserError: a file is torn, or files are of different samples.
    """
    audited = None
    if files.audit is not None:
        texts = dict.fromkeys(("sample", "file", "subset", "evidence"), str)
        audited = Audited(read_csv(files.audit[0], dtype=texts), read_samples_table(files.audit[1]))
    ids = [str(name) for name in read_samples(train, ["id"])["id"]]
    maps: list[Projection] = []
    if files.gradients is not None or files.features is not None:
        first = shown_samples(rankings, ranks_shown(rankings, about.shown))
        flagged = [] if audited is None else [str(name) for name in audited.issues["sample"].drop_duplicates()]
        shown, listed = (listed_samples(ids, [*first, *flagged], most) for most in (PAGE.listed, space.listed))
        if files.gradients is not None:
            maps.append(project_gradients(files.gradients[0].read(), files.gradients[1].read(), shown, listed))
        if files.features is not None:
            # It imports torch, which only a run with an audit waits for.
            from dmin.games.feature_files import read_features

            features: np.ndarray = read_features(files.features)["features"]
            maps.append(project_features(features, ids, shown, listed))
    games = [read_contributed(played, players, contributions, ids) for played, players, contributions in files.games]
    return Beside(audited, maps, None if files.parts is None else read_parquet(files.parts), games)
