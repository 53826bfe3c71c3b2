from pathlib import Path

from dmin.plan.plan import PlanFiles, plan
from dmin.runtime.job import job

with job(snakemake):
    files = {name: Path(path) for name, path in snakemake.output.items()}
    plan(
        snakemake.params.runs,
        snakemake.params.games,
        Path(snakemake.params.architectures),
        Path(snakemake.params.measured),
        PlanFiles(**files),
    )
