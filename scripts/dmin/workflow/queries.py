"""The images that a run asks about, with their files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from ..runtime.text import read_text, text_lines
from ..settings.runs import Queries as QueriesSettings
from ..settings.runs import QueryClassifier
from .datasets import Dataset
from .files import image_files, is_plain

Kind = Literal["generated", "held_out", "prompts", "images", "classified", "selected"]


@dataclass(frozen=True)
class Queries:
    """The queries of a run."""

    run: str
    settings: QueriesSettings
    dataset: Dataset

    @property
    def table(self) -> str:
        """The table of the queries."""
        return f"<results>/runs/{self.run}/queries/queries.parquet"

    @property
    def encoded(self) -> str:
        """The encoded queries."""
        return f"<results>/runs/{self.run}/queries/queries.safetensors"

    @property
    def candidates(self) -> str:
        """The table of the images that queries are chosen from, where they are."""
        return f"<results>/runs/{self.run}/queries/candidates.parquet"

    @property
    def trajectory(self) -> str:
        """The trajectories that generated the queries."""
        return f"<results>/runs/{self.run}/queries/trajectory.safetensors"

    @property
    def kind(self) -> Kind:
        """Where queries come from: their source, or classified where a classifier labels what is generated, or selected
        where a measure chooses among those."""
        if self.settings["source"] != "generated" or not self.settings["classifier"]:
            return self.settings["source"]
        return "selected" if self.settings["select"] else "classified"

    @property
    def subsets_known(self) -> bool:
        """Whether the subset of a query is known, without which there is no detection rate; not of a user's own."""
        return self.settings["source"] in ("generated", "held_out")

    @property
    def subsets(self) -> list[str]:
        """The names of the queries' subsets; those of a user's own are all of one."""
        return self.dataset.subsets if self.subsets_known else ["query"]

    @property
    def count(self) -> int:
        """How many images are asked about."""
        if self.settings["source"] == "prompts":
            return len(self.prompts)
        if self.settings["images"] and self.settings["source"] == "images":
            return self.settings["images"]["rows"]
        if self.settings["select"]:
            return self.settings["select"]["keep"]
        return self.settings["per_subset"] * len(self.dataset.subsets)

    @property
    def candidate_count(self) -> int:
        """Images that are generated so that per_subset of each class pass the classifier, or to select from."""
        if self.settings["select"]:
            return self.settings["select"]["of"]
        return math.ceil(self.count * Fraction(str(self.classifier["oversample"])))

    @property
    def prompts(self) -> list[str]:
        """The prompts that the config lists, or the lines of the text file that it names; blank lines do not count.

        Raises:
            UserError: the file is no text in UTF-8.
        """
        given = self.settings["prompts"]
        lines = text_lines(read_text(Path(given), "The file of prompts")) if isinstance(given, str) else given
        return [line.strip() for line in lines or [] if line.strip()]

    @property
    def classifier(self) -> QueryClassifier:
        """The settings of the classifier.

        Raises:
            ValueError: there is none.
        """
        if self.settings["classifier"] is None:
            raise ValueError(f"The queries of run {self.run} have no classifier.")
        return self.settings["classifier"]

    @property
    def classifier_description(self) -> str:
        """The file beside the classifier's weights that describes them."""
        return str(Path(self.classifier["path"]).with_suffix(".json"))

    @property
    def image_files(self) -> list[str]:
        """The files of a user's own images that Snakemake can name; none for those on the hub."""
        images = self.settings["images"]
        return [file for file in image_files(images["path"]) if is_plain(file)] if images else []
