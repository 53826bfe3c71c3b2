from pathlib import Path

from dmin.gradients.pilot_scale import pilot_scale
from dmin.models.load import TrainedModel
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    pilot_scale(
        Path(snakemake.input.samples),
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        snakemake.params.gradients,
        {"quantity": snakemake.wildcards.quantity, "draws": 1},
        Pace(snakemake.resources.device, snakemake.resources.batch),
        Path(snakemake.output[0]),
    )
