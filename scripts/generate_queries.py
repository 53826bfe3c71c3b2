from pathlib import Path

from dmin.job import job
from dmin.models.queries import generate_queries

with job(snakemake):
    generate_queries(
        Path(snakemake.input.test),
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.queries,
        snakemake.params.subsets,
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
