from pathlib import Path

from dmin.gradients.cache import cache_gradients
from dmin.models.training.checkpoints import checkpoint_weights
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    weights, checkpoint = Path(snakemake.input.weights), snakemake.params.cache.get("checkpoint")
    if checkpoint is not None:
        weights = checkpoint_weights(weights, checkpoint)
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    cache_gradients(
        Path(snakemake.input.samples),
        weights,
        snakemake.params.base,
        snakemake.params.gradients,
        snakemake.wildcards.cache,
        snakemake.params.cache,
        start,
        stop,
        Path(snakemake.output.shard),
        Path(snakemake.output.metrics),
        snakemake.resources.device,
        snakemake.resources.batch,
        Path(snakemake.input.trajectory[0]) if snakemake.input.trajectory else None,
        Path(snakemake.input.replay[0]) if snakemake.input.replay else None,
        request,
    )
