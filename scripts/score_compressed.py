from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.compression import Measures, score_compressed
from dmin.evaluation.lds import JudgingBank
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    reference, losses, sets = (
        [Path(path) for path in paths] for paths in (inputs.reference, inputs.losses, inputs.sets)
    )
    score_compressed(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_shards, inputs.queries), GradientFiles.of(inputs.train_shards, inputs.train)
        ),
        params.options,
        {"widths": params.widths, "storage": params.storage},
        Measures(
            SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
            params.evaluation,
            reference[0] if reference else None,
            JudgingBank(losses, sets, params.judging) if losses else None,
        ),
        Path(snakemake.output[0]),
    )
