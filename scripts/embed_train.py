from pathlib import Path

from dmin.games.embed import embed_train
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    embed_train(
        Path(snakemake.input.images),
        snakemake.params.encoder,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
