from pathlib import Path

from dmin.evaluation.joined_table import join_runs
from dmin.runtime.job import job

with job(snakemake):
    join_runs(snakemake.params.runs, [Path(path) for path in snakemake.input], Path(snakemake.output[0]))
