from pathlib import Path

from dmin.evaluation.lambda_choice import sweep_lambda
from dmin.runtime.job import job

with job(snakemake):
    compressed = snakemake.wildcards.v != "full"
    sweep_lambda(
        snakemake.wildcards.method,
        snakemake.wildcards.v,
        [Path(path) for path in snakemake.input.train_norms],
        [Path(path) for path in snakemake.input.query_norms],
        Path(snakemake.input.train) if compressed else None,
        Path(snakemake.input.queries) if compressed else None,
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.k,
        snakemake.params.options,
        Path(snakemake.output[0]),
    )
