from pathlib import Path

from dmin.gradients.lissa_cache import cache_lissa
from dmin.gradients.make_shard import ShardTask
from dmin.models.load import TrainedModel
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    shard, metrics = Path(snakemake.output.shard), Path(snakemake.output.metrics)
    regions = Path(snakemake.input.regions[0]) if snakemake.input.regions else None
    cache_lissa(
        ShardTask(Path(snakemake.input.queries), start, stop, shard, metrics, regions),
        Path(snakemake.input.samples),
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.gradients,
        snakemake.params.lissa,
        Pace(snakemake.resources.device, snakemake.resources.batch, request, snakemake.params.code),
    )
