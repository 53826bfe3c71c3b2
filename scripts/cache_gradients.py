from pathlib import Path

from dmin.gradients.cache import cache_gradients
from dmin.job import job

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    cache_gradients(
        Path(snakemake.input.samples),
        Path(snakemake.input.weights),
        snakemake.params.base,
        snakemake.params.gradients,
        snakemake.wildcards.feature,
        start,
        stop,
        Path(snakemake.output.shard),
        Path(snakemake.output.metrics),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
