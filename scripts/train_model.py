from pathlib import Path

from dmin.models.training.launch import launch_training
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe, TrainingFiles, TrainingTask
from dmin.runtime.job import job

with job(snakemake):
    files = TrainingFiles(**{name: Path(path) for name, path in snakemake.output.items()})
    launch_training(
        TrainingTask(Path(snakemake.input.samples), Recipe(snakemake.params.base, snakemake.params.model), files),
        TrainingPace(snakemake.resources.device, snakemake.resources.save_every, code=snakemake.params.code),
        snakemake.resources.processes,
        snakemake.resources.get("runtime"),
        Path(snakemake.log[0]),
    )
