from pathlib import Path

from dmin.games.reference import take_query
from dmin.runtime.job import job

with job(snakemake):
    take_query(Path(snakemake.input[0]), snakemake.params.number, Path(snakemake.output[0]))
