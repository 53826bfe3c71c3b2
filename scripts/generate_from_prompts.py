from pathlib import Path

from dmin.models.load import TrainedModel
from dmin.models.queries.prompts import generate_from_prompts
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    generate_from_prompts(
        snakemake.params.prompts,
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.queries,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
