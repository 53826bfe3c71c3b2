from pathlib import Path

from dmin.gradients.lissa_cache import cache_lissa
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    cache_lissa(
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.gradients,
        snakemake.params.lissa,
        start,
        stop,
        Path(snakemake.output.shard),
        Path(snakemake.output.metrics),
        snakemake.resources.device,
        snakemake.resources.batch,
        request,
    )
