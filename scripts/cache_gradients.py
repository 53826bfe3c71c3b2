from pathlib import Path

from dmin.gradients.cache import cache_gradients
from dmin.job import job

with job(snakemake):
    adapter, checkpoint = Path(snakemake.input.adapter), snakemake.params.feature.get("checkpoint")
    if checkpoint is not None:
        adapter = adapter / str(checkpoint) / "pytorch_lora_weights.safetensors"
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    cache_gradients(
        Path(snakemake.input.samples),
        adapter,
        snakemake.params.base,
        snakemake.params.gradients,
        snakemake.wildcards.feature,
        snakemake.params.feature,
        start,
        stop,
        Path(snakemake.output.shard),
        Path(snakemake.output.metrics),
        snakemake.resources.device,
        snakemake.resources.batch,
        Path(snakemake.input.trajectory[0]) if snakemake.input.trajectory else None,
        Path(snakemake.input.replay[0]) if snakemake.input.replay else None,
    )
