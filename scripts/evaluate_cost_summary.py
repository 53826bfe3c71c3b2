from pathlib import Path

from dmin.evaluation.cost_summary import evaluate_cost_summary
from dmin.runtime.job import job

with job(snakemake):
    evaluate_cost_summary(
        {stage: [Path(path) for path in snakemake.input.get(stage)] for stage in snakemake.params.stages},
        snakemake.params.read,
        Path(snakemake.output.table),
        Path(snakemake.output.page),
    )
