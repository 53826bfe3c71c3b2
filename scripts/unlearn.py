from pathlib import Path

from dmin.models.training.pace import TrainingPace
from dmin.models.training.task import Recipe
from dmin.retraining.members import Retrainings
from dmin.retraining.retrain import retrain_subsets
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job
from dmin.runtime.meter import Meter

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    weights = snakemake.input.get("start")
    resources, code = snakemake.resources, snakemake.params.code
    pace = TrainingPace(resources.device, resources.save_every, request, code=code)
    with Meter() as meter:
        seconds = retrain_subsets(
            Path(snakemake.input.samples),
            Path(snakemake.input.sets),
            Recipe(snakemake.params.base, snakemake.params.model, Path(weights) if weights else None),
            Retrainings(snakemake.params.bank, start, stop),
            Path(snakemake.output.models),
            TrainingPace(
                snakemake.resources.device, snakemake.resources.save_every, request, code=snakemake.params.code
            ),
        )
    meter.write(Path(snakemake.output.metrics), trained_seconds=seconds)
