from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.lambda_choice import SweepFiles, sweep_lambda
from dmin.runtime.job import job

with job(snakemake):
    inputs = snakemake.input
    sweep_lambda(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_norms, inputs.queries), GradientFiles.of(inputs.train_norms, inputs.train)
        ),
        SampleTables(Path(inputs.query_samples), Path(inputs.samples)),
        snakemake.params.options,
        snakemake.params.k,
        SweepFiles(Path(snakemake.output.table), Path(snakemake.output.top)),
    )
