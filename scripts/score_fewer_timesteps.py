from pathlib import Path

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.sample_tables import SampleTables
from dmin.evaluation.fewer_timesteps import score_fewer_timesteps
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    score_fewer_timesteps(
        snakemake.wildcards.method,
        GradientSides(
            GradientFiles.of(inputs.query_shards, inputs.queries), GradientFiles.of(inputs.train_shards, inputs.train)
        ),
        params.options,
        params.subsets,
        (SampleTables(Path(inputs.query_samples), Path(inputs.samples)), params.evaluation),
        Path(snakemake.output[0]),
    )
