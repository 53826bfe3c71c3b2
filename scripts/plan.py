from pathlib import Path

from dmin.plan.plan import plan
from dmin.runtime.job import job

with job(snakemake):
    plan(
        snakemake.params.runs,
        Path(snakemake.params.architectures),
        Path(snakemake.params.measured),
        Path(snakemake.output.table),
        Path(snakemake.output.costs),
    )
