from pathlib import Path

from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.compression import Measures
from dmin.evaluation.lds import JudgingBank
from dmin.evaluation.taught import judge_taught
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    reference, losses, sets = (
        [Path(path) for path in paths] for paths in (inputs.reference, inputs.losses, inputs.sets)
    )
    judge_taught(
        Path(inputs.scores),
        Measures(
            SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
            params.evaluation,
            reference[0] if reference else None,
            JudgingBank(losses, sets, params.judging) if losses else None,
        ),
        Path(snakemake.output[0]),
    )
