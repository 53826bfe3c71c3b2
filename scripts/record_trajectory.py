from pathlib import Path

from dmin.deadline import StopRequest
from dmin.job import job
from dmin.models.record_trajectory import record_trajectory

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
