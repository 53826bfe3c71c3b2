from pathlib import Path

from dmin.job import job
from dmin.models.adapter_training import train_adapter

with job(snakemake):
    train_adapter(
        Path(snakemake.input.samples),
        snakemake.params.base,
        snakemake.params.model,
        Path(snakemake.output.adapter),
        Path(snakemake.output.description),
        Path(snakemake.output.curve),
        snakemake.resources.device,
        snakemake.resources.save_every,
        Path(snakemake.output.checkpoints),
        Path(snakemake.output.training_log),
    )
