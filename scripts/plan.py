from pathlib import Path

from dmin.job import job
from dmin.plan.plan import plan

with job(snakemake):
    plan(
        snakemake.params.runs,
        Path(snakemake.params.architectures),
        Path(snakemake.params.measured),
        Path(snakemake.output.table),
        Path(snakemake.output.costs),
    )
