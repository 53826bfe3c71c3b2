"""Score the training samples of a run by one method that reads gradients, from files to files."""

from __future__ import annotations

from dmin.attribution.gradient_files import GradientSides
from dmin.attribution.judge import Judge
from dmin.attribution.outputs import Scored, ScoreFiles, check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.significance import ListSettings
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.settings.runs import Options


def score(
    method: str,
    sides: GradientSides,
    tables: SampleTables,
    options: Options,
    lists: ListSettings,
    files: ScoreFiles,
) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and ranked lists with what is said of them.

    Raises:
        UserError: the method is unknown or reads no gradients, a file is torn, settings differ or are out of range,
            a score is not finite, or the lists are longer than the training set.
    """
    chosen = find_method(method)
    if chosen.inputs != "gradients":
        raise UserError(f"Method {method} reads no gradients; score it from the sample tables.")
    with Meter() as meter:
        queries, train = sides.read()
        check_top_k(lists["top_k"], len(train.ids))
        subsets = tables.subsets()
        values, found = chosen.run(queries, train, options, subsets)
    facts = {**train.metadata, "method": method, "width": train.width, **found}
    differing = {key: value for key, value in queries.metadata.items() if train.metadata.get(key) != value}
    if differing:
        facts["query_gradients"] = differing
    made_from = {"train": train.digest, "queries": queries.digest}
    held_out = sides.held_out.read() if sides.held_out is not None else None
    if held_out is not None:
        made_from["held_out"] = held_out.digest
    judged = Judge(queries, train, held_out, tables).judge(chosen, values, options, lists)
    config = {"options": options, "lists": lists}
    scored = Scored(method, values, queries.ids, train.ids, facts, config, made_from, judged)
    write_scores(scored, subsets, lists["top_k"], files, meter)
