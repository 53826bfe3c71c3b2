from pathlib import Path

from dmin.games.prune_model import PrunedFiles, prune_model
from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    files = {name: Path(path) for name, path in snakemake.output.items()}
    prune_model(
        Path(snakemake.input.samples),
        Path(snakemake.input.weights),
        Recipe(snakemake.params.base, snakemake.params.model),
        snakemake.params.ratio,
        PrunedFiles(**files),
        TrainingPace(snakemake.resources.device, snakemake.resources.save_every, request, code=snakemake.params.code),
    )
