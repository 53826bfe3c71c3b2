from pathlib import Path

from dmin.job import job
from dmin.models.own_queries import generate_from_prompts

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
