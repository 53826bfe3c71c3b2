from pathlib import Path

from dmin.evaluation.model_table import evaluate_models
from dmin.runtime.job import job

with job(snakemake):
    evaluate_models(Path(snakemake.input.models), Path(snakemake.input.cost), Path(snakemake.output[0]))
