from pathlib import Path

from dmin.evaluation.cost import evaluate_cost
from dmin.runtime.job import job

with job(snakemake):
    evaluate_cost(
        {stage: [Path(path) for path in snakemake.input.get(stage)] for stage in snakemake.params.stages},
        snakemake.params.read,
        Path(snakemake.output[0]),
    )
