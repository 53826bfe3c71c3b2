from pathlib import Path

from dmin.evaluation.seed_agreement import evaluate_seed_agreement
from dmin.runtime.job import job

with job(snakemake):
    params, files = snakemake.params, iter(snakemake.input.scores)
    evaluate_seed_agreement(
        {tuple(pair): {run: Path(next(files)) for run in params.runs} for pair in params.scored},
        params.evaluation["k"],
        params.evaluation["confidence"],
        Path(snakemake.output[0]),
    )
