from pathlib import Path

from dmin.deadline import StopRequest
from dmin.job import job
from dmin.models.training import train_model

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    train_model(
        Path(snakemake.input.samples),
        snakemake.params.base,
        snakemake.params.model,
        Path(snakemake.output.weights),
        Path(snakemake.output.description),
        Path(snakemake.output.curve),
        snakemake.resources.device,
        snakemake.resources.save_every,
        Path(snakemake.output.checkpoints),
        Path(snakemake.output.training_log),
        request,
    )
