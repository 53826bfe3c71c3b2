from pathlib import Path

from dmin.games.embed import embed_members
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    embed_members(
        Path(snakemake.input.images),
        snakemake.params.encoder,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
