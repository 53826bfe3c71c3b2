from pathlib import Path

from dmin.models.queries.record_trajectory import record_trajectory
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    record_trajectory(
        Path(snakemake.input.queries),
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.queries,
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
        request,
    )
