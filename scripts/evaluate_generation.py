from pathlib import Path

from dmin.evaluation.generation import evaluate_generation
from dmin.runtime.job import job

with job(snakemake):
    evaluate_generation(
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        Path(snakemake.output[0]),
        snakemake.resources.batch,
    )
