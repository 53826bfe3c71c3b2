from pathlib import Path

from dmin.evaluation.significance import Attribution, evaluate_significance
from dmin.runtime.job import job

with job(snakemake):
    params, files = snakemake.params, iter(snakemake.input.scores)
    evaluate_significance(
        [
            Attribution(method, v, Path(top), [Path(next(files)) for _ in params.runs])
            for (method, v), top in zip(params.scored, snakemake.input.tops, strict=True)
        ],
        params.lists,
        Path(snakemake.output[0]),
    )
