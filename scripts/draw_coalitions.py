from pathlib import Path

from dmin.games.coalitions import write_coalitions
from dmin.runtime.job import job

with job(snakemake):
    write_coalitions(Path(snakemake.input[0]), snakemake.params.drawn, snakemake.params.seed, Path(snakemake.output[0]))
