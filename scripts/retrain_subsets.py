from pathlib import Path

from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.retraining.members import Retrainings
from dmin.retraining.retrain import retrain_subsets
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    retrain_subsets(
        Path(snakemake.input.samples),
        Path(snakemake.input.sets),
        Recipe(snakemake.params.base, snakemake.params.model),
        Retrainings(snakemake.params.bank, start, stop),
        Path(snakemake.output[0]),
        TrainingPace(snakemake.resources.device, snakemake.resources.save_every, request, code=snakemake.params.code),
    )
