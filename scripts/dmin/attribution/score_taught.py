"""Score the training samples of a run by a method that learned another's scores, from files to files."""

from __future__ import annotations

from dataclasses import dataclass

from dmin.attribution.gradient_files import GradientFiles
from dmin.attribution.outputs import Scored, ScoreFiles, check_top_k, write_scores
from dmin.attribution.registry import find_method
from dmin.attribution.sample_tables import SampleTables
from dmin.data.sample_rows import SampleRows
from dmin.runtime.digests import file_digest
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.pace import Pace
from dmin.settings.runs import Options


@dataclass(frozen=True)
class Lesson:
    """The tables of both sides, and the teacher's gradients of the training samples."""

    tables: SampleTables
    teacher: GradientFiles


def score_taught(method: str, lesson: Lesson, options: Options, pace: Pace, top_k: int, files: ScoreFiles) -> None:
    """Write the scores ``[queries, train]`` fp32 of ``method``, their ids, and the ranked lists of length ``top_k``.

    Raises:
        UserError: the method is unknown or learns from no other, a table, image or cache is unreadable, what it learns
            from is too little, a score is not finite, or ``top_k`` exceeds the training set.
    """
    chosen, tables = find_method(method), lesson.tables
    if chosen.inputs != "taught":
        raise UserError(f"Method {method} learns from no other; score it from its own inputs.")
    with Meter() as meter:
        train, asked = (SampleRows(path, chosen.entry.columns) for path in (tables.train, tables.queries))
        check_top_k(top_k, len(train))
        teacher = lesson.teacher.read()
        values, learned = chosen.scores(asked, train, teacher, options, pace)
    made_from = {"train": file_digest(tables.train), "queries": file_digest(tables.queries), "teacher": teacher.digest}
    facts = {"method": method, **chosen.facts(options), **learned}
    facts["uncompressed_bytes"] = 4 * len(teacher.metadata["timesteps"]) * teacher.metadata["P"]
    scored = Scored(method, values, asked.ids, train.ids, facts, {"options": options}, made_from)
    write_scores(scored, tables.subsets(), top_k, files, meter)
