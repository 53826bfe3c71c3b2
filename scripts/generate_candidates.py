from pathlib import Path

from dmin.job import job
from dmin.models.queries import generate_candidates

with job(snakemake):
    generate_candidates(
        Path(snakemake.input.test),
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.queries,
        snakemake.params.candidates,
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
