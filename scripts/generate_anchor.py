from pathlib import Path

from dmin.games.generate import generate_anchor
from dmin.models.load import TrainedModel
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    generate_anchor(
        TrainedModel(snakemake.params.base, Path(snakemake.input.weights)),
        Path(snakemake.input.test),
        snakemake.params.images,
        (snakemake.wildcards.anchor, snakemake.params.repeat),
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
