from pathlib import Path

from dmin.retraining.retrain import retrain_subsets
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    retrain_subsets(
        Path(snakemake.input.samples),
        Path(snakemake.input.sets),
        snakemake.params.base,
        snakemake.params.model,
        snakemake.params.bank,
        (start, stop),
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.save_every,
        request,
    )
