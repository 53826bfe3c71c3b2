from pathlib import Path

from dmin.evaluation.lissa_answers import evaluate_lissa
from dmin.runtime.job import job

with job(snakemake):
    evaluate_lissa(
        [Path(path) for path in snakemake.input.shards],
        Path(snakemake.input.queries),
        Path(snakemake.output[0]),
    )
