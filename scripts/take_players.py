from pathlib import Path

from dmin.games.players import take_players
from dmin.runtime.job import job

with job(snakemake):
    take_players(Path(snakemake.input[0]), snakemake.params.players, Path(snakemake.output[0]))
