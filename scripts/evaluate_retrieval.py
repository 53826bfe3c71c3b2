from pathlib import Path

from dmin.evaluation.retrieval_table import evaluate_retrieval
from dmin.runtime.job import job

with job(snakemake):
    evaluate_retrieval(
        [Path(path) for path in snakemake.input.found],
        [Path(path) for path in snakemake.input.exact],
        [Path(path) for path in snakemake.input.retrievals],
        [Path(path) for path in snakemake.input.indexes],
        snakemake.params.k,
        Path(snakemake.output[0]),
    )
