"""Score the training samples of a run by one method that reads no gradients, from files to files."""

from __future__ import annotations

from dmin.attribution.outputs import Scored, ScoreFiles, check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.data.sample_rows import SampleRows
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options


def score_samples(
    method: str, tables: SampleTables, options: Options, pace: Pace, top_k: int, files: ScoreFiles
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Only the columns that the method needs are read, images in blocks.

    Raises:
        UserError: the method is unknown or reads gradients, a table or image is unreadable, an option is out of
            range, a score is not finite, or ``top_k`` exceeds the training set.
    """
    chosen = find_method(method)
    if chosen.inputs not in ("nothing", "samples"):
        raise UserError(f"Method {method} reads gradients; score it from the gradient cache.")
    with Meter() as meter:
        train, asked = (SampleRows(path, chosen.entry.columns) for path in (tables.train, tables.queries))
        check_top_k(top_k, len(train))
        subsets = tables.subsets()
        values, found = chosen.run(asked, train, options, subsets, pace)
    made_from = {"train": file_digest(tables.train), "queries": file_digest(tables.queries)}
    scored = Scored(method, values, asked.ids, train.ids, {"method": method, **found}, {"options": options}, made_from)
    write_scores(scored, subsets, top_k, files, meter)
