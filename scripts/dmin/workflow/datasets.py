"""Data sets of the config, with their files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from ..settings.models import Dataset as DatasetSettings
from ..settings.models import Source
from .counted import counted
from .files import image_files, is_plain
from .values import leave_out


@dataclass(frozen=True)
class SplitCounts:
    """Rows of a data set: noised copies, all, and those of the training set."""

    copies: int
    total: int
    train: int

    @property
    def test(self) -> int:
        """Rows of the test set."""
        return self.total - self.train


@dataclass(frozen=True)
class Dataset:
    """A data set, assembled from one or more sources."""

    name: str
    settings: DatasetSettings

    @property
    def train(self) -> str:
        """The table of training samples."""
        return f"<results>/datasets/{self.name}/train.parquet"

    @property
    def test(self) -> str:
        """The table of test samples."""
        return f"<results>/datasets/{self.name}/test.parquet"

    @property
    def planted(self) -> str:
        """What was planted in the training samples, which no step before the audit reads."""
        return f"<results>/datasets/{self.name}/planted.csv"

    @property
    def summary(self) -> str:
        """The counts of both."""
        return f"<results>/datasets/{self.name}/dataset.json"

    @cached_property
    def rows(self) -> dict[str, int]:
        """The rows of each source: what the config says, else how many a local one has.

        Raises:
            UserError: they cannot be counted; the config's key is named.
        """
        return {
            source["name"]: counted(f"datasets.{self.name}.sources '{source['name']}'", source)
            for source in self.settings["sources"]
        }

    @property
    def counts(self) -> SplitCounts:
        """The rows of each part, in exact arithmetic."""
        testing = self.settings["test_sources"]
        rows = sum(self.rows.values())
        test = sum(count for name, count in self.rows.items() if name in testing)
        copies = math.floor((rows - test) * Fraction(str(self.settings["noise"]["fraction"])))
        total = rows + copies
        if test:
            return SplitCounts(copies, total, total - test)
        return SplitCounts(copies, total, math.floor(total * Fraction(str(self.settings["train_fraction"]))))

    @property
    def bucket_step(self) -> int | None:
        """The step of its aspect-ratio buckets; None where all images are square."""
        return self.settings.get("bucket_step")

    @property
    def subsets(self) -> list[str]:
        """The names of the subsets: the classes, or the sources."""
        return self.settings["classes"] or self.source_names

    @property
    def source_names(self) -> list[str]:
        """The names of the sources, in order."""
        return [source["name"] for source in self.settings["sources"]]

    @property
    def fetched(self) -> list[str]:
        """The table of each source."""
        return [self.fetched_file(source) for source in self.source_names]

    def fetched_file(self, source: str) -> str:
        """Return the table of a source."""
        return f"<results>/sources/{self.name}/{source}.parquet"

    @property
    def assembly(self) -> dict[str, Any]:
        """What the assembly depends on: of the sources, their names."""
        bucketed = {} if self.bucket_step is None else {"bucket_step": self.bucket_step}
        return leave_out(self.settings, "sources", "bucket_step") | {"sources": self.source_names} | bucketed

    def source(self, name: str) -> Source:
        """The settings of a source, its rows counted."""
        found = next(source for source in self.settings["sources"] if source["name"] == name)
        return {**found, "rows": self.rows[name]}

    def draw_seed(self, name: str) -> int | None:
        """The seed of the rows that are taken of a source; None where they are the first."""
        return self.settings["seed"] if self.source(name)["sample"] == "random" else None

    def source_files(self, name: str) -> list[str]:
        """The files of a source on disk that Snakemake can name; none for one on the hub."""
        return [file for file in image_files(self.source(name)["path"]) if is_plain(file)]
