from pathlib import Path

from dmin.job import job
from dmin.models.held_out import take_queries

with job(snakemake):
    queries = snakemake.params.queries
    out = Path(snakemake.output[0])
    take_queries(Path(snakemake.input[0]), snakemake.params.subsets, queries["per_subset"], queries["seed"], out)
