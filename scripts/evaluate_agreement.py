from pathlib import Path

from dmin.evaluation.agreement import evaluate_agreement
from dmin.runtime.job import job

with job(snakemake):
    evaluation = snakemake.params.evaluation
    evaluate_agreement(
        dict(zip(snakemake.params.methods, map(Path, snakemake.input.scores), strict=True)),
        max(evaluation["k"]),
        evaluation["confidence"],
        Path(snakemake.output[0]),
    )
