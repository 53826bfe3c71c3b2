from pathlib import Path

from dmin.games.players import require_same
from dmin.games.tables import join_members
from dmin.runtime.job import job

with job(snakemake):
    require_same(Path(snakemake.input.coalitions), list(map(Path, snakemake.input.records)))
    join_members(list(map(Path, snakemake.input.values)), snakemake.params.trainers, Path(snakemake.output[0]))
