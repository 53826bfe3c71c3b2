from pathlib import Path

from dmin.gradients.pilot_curvature import pilot_curvature
from dmin.models.load import TrainedModel
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    pilot_curvature(
        Path(snakemake.input.samples),
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.gradients,
        {"quantity": "loss", "draws": 1},
        Pace(snakemake.resources.device, snakemake.resources.batch),
        Path(snakemake.output[0]),
    )
