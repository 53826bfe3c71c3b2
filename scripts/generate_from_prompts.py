from pathlib import Path

from dmin.models.queries.own import generate_from_prompts
from dmin.runtime.job import job

with job(snakemake):
    generate_from_prompts(
        snakemake.params.prompts,
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.queries,
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
