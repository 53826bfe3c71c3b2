from pathlib import Path

from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.models.load import TrainedModel
from dmin.models.training.checkpoints import checkpoint_weights
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    weights, checkpoint = Path(snakemake.input.weights), snakemake.params.cache.get("checkpoint")
    if checkpoint is not None:
        weights = checkpoint_weights(weights, checkpoint)
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    shard, metrics = Path(snakemake.output.shard), Path(snakemake.output.metrics)
    inputs = snakemake.input
    regions = Path(inputs.regions[0]) if inputs.regions else None
    roles = (inputs.trajectory, inputs.replay, inputs.scale, inputs.curvature)
    followed = [Path(files[0]) if files else None for files in roles]
    cache_gradients(
        ShardTask(Path(snakemake.input.samples), start, stop, shard, metrics, regions),
        TrainedModel(snakemake.params.base, weights),
        snakemake.params.gradients,
        CacheKind(snakemake.wildcards.cache, snakemake.params.cache, *followed),
        Pace(snakemake.resources.device, snakemake.resources.batch, request, snakemake.params.code),
    )
