from pathlib import Path

from dmin.evaluation.joined_table import join_tables
from dmin.runtime.job import job

with job(snakemake):
    join_tables([Path(path) for path in snakemake.input], Path(snakemake.output[0]))
