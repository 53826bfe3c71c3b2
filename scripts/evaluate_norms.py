from pathlib import Path

from dmin.evaluation.norms import evaluate_norms
from dmin.runtime.job import job

with job(snakemake):
    evaluate_norms(
        [Path(path) for path in snakemake.input.shards],
        [Path(snakemake.input.samples), Path(snakemake.input.queries)],
        Path(snakemake.output[0]),
    )
