from pathlib import Path

from dmin.models.load import TrainedModel
from dmin.models.queries.record_trajectory import record_trajectory
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    record_trajectory(
        Path(snakemake.input.queries),
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.queries,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch, request, snakemake.params.code),
    )
