"""The results of a run, read when they are asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmin.runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

_SHOWN = ("4096",)


def open_run(path: str | Path) -> OpenedRun:
    """Open the results of a run; nothing is read yet.

    Args:
        path: the folder of the run (``results/runs/NAME``), or one that holds the results of a single run, such as the
            ``out`` of :func:`dmin.attribute`.

    Raises:
        UserError: there is no run, or there are several.
    """
    folder = Path(path)
    if (folder / "influence").is_dir():
        return OpenedRun(folder)
    for inner in ("results/runs", "runs"):
        runs = sorted(run for run in (folder / inner).glob("*") if (run / "influence").is_dir())
        if len(runs) > 1:
            raise UserError(f"'{folder}' has the runs {', '.join(run.name for run in runs)}; open the folder of one.")
        if runs:
            return OpenedRun(runs[0])
    raise UserError(f"'{folder}' holds no scores of a run; make them first, or open the folder of a run.")


class OpenedRun:
    """The results of a run: scores, ranked lists and images. Methods are named as in ``influence.methods``; a width is
    ``v``, a number or ``full``, by default 4096 where the method has it, else its largest.

    Args:
        folder: that of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def methods(self) -> dict[str, list[str]]:
        """The methods that have scores, each with its widths, smallest first; none for a method without widths."""
        found: dict[str, list[str]] = {}
        for file in sorted((self.folder / "influence").glob("*/**/scores.npy")):
            method, *width = file.parent.relative_to(self.folder / "influence").parts
            found.setdefault(method, []).extend(part.removeprefix("v") for part in width[:1])
        return {method: sorted(widths, key=lambda v: (v == "full", v.rjust(12))) for method, widths in found.items()}

    def scores(self, method: str, v: str | int | None = None) -> pd.DataFrame:
        """Return the scores of a method, one row per query and one column per training sample, larger = proponent.

        Raises:
            UserError: the run lacks the method or the width, or a file is torn.
        """
        import pandas as pd

        from dmin.attribution.score_matrix import ScoreMatrix

        matrix = ScoreMatrix.read(self._folder(method, v) / "scores.npy")
        return pd.DataFrame(matrix.values, index=matrix.queries, columns=matrix.train)

    def top(self, method: str, v: str | int | None = None) -> pd.DataFrame:
        """Return the ranked lists of a method: ``query_id, query_subset, rank, sample_id, sample_subset, score,
        p_value, significant, low, high``.

        Raises:
            UserError: as :meth:`scores`.
        """
        from dmin.runtime.parquet import read_parquet

        return read_parquet(self._lists(method, v) / "top.parquet")

    def ranking(self, method: str, v: str | int | None = None) -> pd.DataFrame:
        """Return the same lists for people: ``query, query_file, rank, sample, file, caption, score, share, p_value,
        significant, low, high``.

        Raises:
            UserError: as :meth:`scores`, or the target ``rankings`` has not been made.
        """
        import pandas as pd

        file = self._lists(method, v) / "ranking.csv"
        if not file.is_file():
            raise UserError(f"'{file}' is not there; make it by the target rankings.")
        unknown = {name: [""] for name in ("p_value", "significant", "low", "high")}
        texts = ("query", "query_file", "sample", "file", "caption")
        types: dict[str, Any] = {**dict.fromkeys(texts, str), "significant": "boolean"}
        return pd.read_csv(file, keep_default_na=False, na_values=unknown, dtype=types)

    @cached_property
    def queries(self) -> pd.DataFrame:
        """The generated images without their pixels: ``id, subset, prompt, seed``."""
        from dmin.data.samples import read_samples

        return read_samples(self.folder / "queries" / "queries.parquet", ["id", "subset", "prompt", "seed"])

    def image(self, identifier: str) -> Image:
        """Return the image of a query or a training sample.

        Raises:
            UserError: neither has this id, or the data set that was scored is not there or not told from another.
        """
        from dmin.data.images import open_image
        from dmin.data.samples import image_bytes, read_samples

        queries = self.folder / "queries" / "queries.parquet"
        asked = queries.is_file() and identifier in set(self.queries["id"])
        tables = [queries] if asked else self._training_sets if identifier in self._scored else []
        found = {image_bytes(read_samples(table, ["image"], [identifier])["image"].iloc[0]) for table in tables}
        if len(found) > 1:
            raise UserError(
                f"Data sets {', '.join(table.parent.name for table in self._training_sets)} have the ids of run "
                f"'{self.folder.name}' and different images; read '{identifier}' from the train.parquet of its own."
            )
        if not found:
            raise UserError(
                f"Run '{self.folder.name}' has no query and no training sample '{identifier}'; see its lists, and make "
                "its data set again if that is gone."
            )
        return open_image(found.pop(), identifier)

    @cached_property
    def _training_sets(self) -> list[Path]:
        """The tables whose ids are those that were scored, in their order: other data sets have some of them too."""
        from dmin.data.samples import read_samples

        tables = sorted(self.folder.parents[1].glob("datasets/*/train.parquet"))
        return [table for table in tables if read_samples(table, ["id"])["id"].tolist() == self._scored]

    @cached_property
    def _scored(self) -> list[str]:
        """The ids of the training samples."""
        from dmin.runtime.readers import read_json

        described = sorted((self.folder / "influence").glob("*/**/scores.json"))
        ids: list[str] = read_json(described[0])["train"] if described else []
        return ids

    @property
    def page(self) -> Path:
        """Where the explorer is, or would be."""
        return self.folder / "explorer.html"

    def ranking_file(self, method: str, v: str | int | None = None) -> Path:
        """Return where the table that :meth:`ranking` reads is, or would be."""
        return self._lists(method, v) / "ranking.csv"

    def _folder(self, method: str, v: str | int | None) -> Path:
        if method not in self.methods:
            raise UserError(
                f"Run '{self.folder.name}' has no scores of '{method}'; it has {', '.join(sorted(self.methods))}."
            )
        widths = self.methods[method]
        folder = self.folder / "influence" / method
        if not widths:
            return folder
        narrowed = [width for width in widths if width != "full"]
        chosen = str(v) if v is not None else next((w for w in _SHOWN if w in widths), (narrowed or widths)[-1])
        if chosen not in widths:
            raise UserError(
                f"Run '{self.folder.name}' has no scores of '{method}' at v={chosen}; it has {', '.join(widths)}."
            )
        return folder / f"v{chosen}"

    def _lists(self, method: str, v: str | int | None) -> Path:
        folder = self._folder(method, v)
        return folder / "exact" if self.methods[method] else folder
