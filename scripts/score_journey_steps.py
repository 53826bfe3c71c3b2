from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.journey_steps import score_journey_steps
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    score_journey_steps(
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries), GradientFiles.of(inputs.train_norms, inputs.train)
        ),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.options,
        snakemake.params.k,
        Path(snakemake.output.scores),
        Path(snakemake.output.rates),
    )
