from pathlib import Path

from dmin.models.training.launch import launch_training
from dmin.runtime.job import job

with job(snakemake):
    launch_training(
        {
            "samples": snakemake.input.samples,
            "base": snakemake.params.base,
            "model": snakemake.params.model,
            "weights": snakemake.output.weights,
            "description": snakemake.output.description,
            "curve": snakemake.output.curve,
            "device": snakemake.resources.device,
            "save_every": snakemake.resources.save_every,
            "checkpoints": snakemake.output.checkpoints,
            "log_file": snakemake.output.training_log,
        },
        snakemake.resources.processes,
        snakemake.resources.get("runtime"),
        Path(snakemake.log[0]),
    )
