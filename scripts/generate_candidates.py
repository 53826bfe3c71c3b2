from pathlib import Path

from dmin.models.queries.generate import generate_candidates
from dmin.runtime.job import job

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
