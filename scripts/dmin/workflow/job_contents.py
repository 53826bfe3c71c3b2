"""What a job reads of a user's own files, as params: digests of their contents, whatever their dates say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..catalogue.methods import METHODS
from ..folders.files import CAPTIONS, IMAGES, UnreadableSourceError, is_local
from ..folders.footer import names_files
from ..folders.tables import TEXT_TABLES
from .contents import Contents
from .tables import Tables

# What a table in parquet names, and what is read beside one in text.
_NAMED = tuple(sorted(IMAGES))
_BESIDE = (*_NAMED, *CAPTIONS)


class JobContents:
    """Makes the ``contents`` params of rules, functions of a job's wildcards.

    Each digest begins with what it is of, for Snakemake compares the params of a job as a set.

    Args:
        tell: is given a sentence before much is read.
    """

    def __init__(self, tables: Tables, tell: Callable[[str], None]) -> None:
        self.tables = tables
        self._contents = Contents(tell=tell)

    def source(self, wildcards: Any) -> str:
        """Return the digest of a local source."""
        source = self.tables.datasets[wildcards.dataset].source(wildcards.source)
        return self._images("source", source["path"], source["image_column"])

    def queries(self, wildcards: Any) -> str:
        """Return the digest of a user's own images."""
        images = self.tables.runs[wildcards.run].queries.settings["images"]
        return self._images("queries", images["path"], images["image_column"]) if images else "queries "

    def masks(self, wildcards: Any) -> str:
        """Return the digest of the masks of a run's regions."""
        regions = self.tables.runs[wildcards.run].queries.regions
        masks = dict.fromkeys(region["mask"] for region in regions if region["mask"] is not None)
        return f"masks {self._contents.digest(*masks)}"

    def base(self, wildcards: Any) -> str:
        """Return the digest of a local base."""
        base = self.tables.base_of(wildcards)
        digest = self._weights("base", base.settings["path"])
        return digest if base.config is None else f"{digest} {self._weights('config', base.config)}"

    def own(self, wildcards: Any) -> str:
        """Return the digest of a user's own weights."""
        return self._weights("own", *self.tables.models[wildcards.model].own_paths)

    def classifier(self, wildcards: Any) -> str:
        """Return the digest of the classifier of a run's queries."""
        queries = self.tables.runs[wildcards.run].queries
        return f"classifier {self._contents.digest(queries.classifier['path'], queries.classifier_description)}"

    def encoder(self, wildcards: Any) -> str:
        """Return the digest of a local encoder, where the method of the wildcards has one."""
        options = self.tables.runs[wildcards.run].influence.options
        return self._weights("encoder", options["encoder"] if "encoder" in METHODS[wildcards.method].options else "")

    def game_encoder(self, wildcards: Any) -> str:
        """Return the digest of what gives the features of a game."""
        return f"encoder {self._contents.digest(*self.tables.measures[wildcards.game].encoder_files)}"

    def game_classifier(self, wildcards: Any) -> str:
        """Return the digest of the classifier of a game, where the behaviour of the wildcards asks it."""
        files = self.tables.measures[wildcards.game].classifier_files(wildcards.behaviour)
        return f"classifier {self._contents.digest(*files)}"

    def audit_encoder(self, wildcards: Any) -> str:
        """Return the digest of the local encoder that captions are compared by."""
        return self._weights("encoder", self.tables.runs[wildcards.run].influence.options["encoder"])

    def base_training(self, wildcards: Any) -> str:
        """Return the digest of what a base is trained from."""
        sources = self.tables.base_trainings[wildcards.base]["sources"]
        files = [source[key] for source in sources for key in ("path", "excerpt")]
        return f"sources {self._contents.digest(*files)}"

    def classifier_training(self, wildcards: Any) -> str:
        """Return the digest of what a classifier is trained and judged by."""
        settings = self.tables.classifier_trainings[wildcards.classifier]
        return f"sources {self._contents.digest(settings['train'], settings['test'])}"

    def _images(self, what: str, path: str, column: str) -> str:
        if not path or not is_local(path):
            return f"{what} "
        # The images that a table names lie beside it, or below.
        if path.endswith(TEXT_TABLES):
            return f"{what} {self._contents.digest(path, str(Path(path).parent), suffixes=_BESIDE)}"
        if _is_table_of_paths(Path(path), column):
            return f"{what} {self._contents.digest(path, str(Path(path).parent), suffixes=_NAMED)}"
        return f"{what} {self._contents.digest(path)}"

    def _weights(self, what: str, *paths: str) -> str:
        local = [path for path in paths if path and is_local(path)]
        return f"{what} {self._contents.weights(*local)}"


def _is_table_of_paths(path: Path, column: str) -> bool:
    """Tell whether a file is a parquet file that names its images; what is torn is told by the job that reads it."""
    try:
        return path.suffix == ".parquet" and path.is_file() and names_files(path, column)
    except (UnreadableSourceError, OSError):
        return False
