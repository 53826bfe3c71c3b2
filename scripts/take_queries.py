from pathlib import Path

from dmin.models.queries.held_out import take_queries
from dmin.runtime.job import job

with job(snakemake):
    queries = snakemake.params.queries
    out = Path(snakemake.output[0])
    take_queries(Path(snakemake.input[0]), snakemake.params.subsets, queries["per_subset"], queries["seed"], out)
