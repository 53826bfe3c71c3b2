from pathlib import Path

from dmin.evaluation.agreement import evaluate_agreement
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.evaluation
    evaluate_agreement(
        dict(zip(snakemake.params.methods, map(Path, snakemake.input.scores), strict=True)),
        max(settings["k"]),
        settings["bootstrap"],
        settings["confidence"],
        settings["seed"],
        Path(snakemake.output[0]),
    )
