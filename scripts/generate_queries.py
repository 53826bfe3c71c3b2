from pathlib import Path

from dmin.models.load import TrainedModel
from dmin.models.queries.generate import generate_queries
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    generate_queries(
        Path(snakemake.input.test),
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.queries,
        snakemake.params.subsets,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
