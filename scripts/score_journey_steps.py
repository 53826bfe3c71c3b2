from pathlib import Path

from dmin.evaluation.journey_steps import score_journey_steps
from dmin.runtime.job import job

with job(snakemake):
    score_journey_steps(
        snakemake.wildcards.v,
        [Path(path) for path in snakemake.input.train_norms],
        [Path(path) for path in snakemake.input.query_norms],
        Path(snakemake.input.train),
        Path(snakemake.input.queries),
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.k,
        snakemake.params.options,
        Path(snakemake.output.scores),
        Path(snakemake.output.rates),
    )
