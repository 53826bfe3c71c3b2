from pathlib import Path

from dmin.evaluation.joined_table import join_runs
from dmin.job import job

with job(snakemake):
    join_runs(snakemake.params.runs, [Path(path) for path in snakemake.input], Path(snakemake.output[0]))
