from pathlib import Path

from dmin.evaluation.hnsw_ablation import evaluate_hnsw
from dmin.runtime.job import job

with job(snakemake):
    evaluate_hnsw([Path(path) for path in snakemake.input], Path(snakemake.output[0]))
