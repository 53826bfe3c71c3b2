from pathlib import Path

from dmin.evaluation.lds_lambda import sweep_lds
from dmin.runtime.job import job

with job(snakemake):
    compressed = snakemake.wildcards.v != "full"
    sweep_lds(
        snakemake.wildcards.method,
        snakemake.wildcards.v,
        [Path(path) for path in snakemake.input.train_norms],
        [Path(path) for path in snakemake.input.query_norms],
        Path(snakemake.input.train) if compressed else None,
        Path(snakemake.input.queries) if compressed else None,
        [Path(path) for path in snakemake.input.losses],
        [Path(path) for path in snakemake.input.sets],
        snakemake.params.options,
        snakemake.params.judging,
        Path(snakemake.output[0]),
    )
