from pathlib import Path

from dmin.games.tables import join_members
from dmin.runtime.job import job

with job(snakemake):
    join_members(list(map(Path, snakemake.input)), snakemake.params.trainers, Path(snakemake.output[0]))
