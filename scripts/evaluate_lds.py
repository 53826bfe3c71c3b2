from pathlib import Path

from dmin.evaluation.lds import evaluate_lds
from dmin.runtime.job import job

with job(snakemake):
    pairs = zip(snakemake.params.methods, snakemake.input.scores, strict=True)
    evaluate_lds(
        [Path(path) for path in snakemake.input.losses],
        [Path(path) for path in snakemake.input.sets],
        {(method, v): Path(path) for (method, v), path in pairs},
        snakemake.params.query_set,
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
