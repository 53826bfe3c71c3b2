from pathlib import Path

from dmin.retrieval.hnsw import build_index
from dmin.runtime.job import job

with job(snakemake):
    build_index(
        Path(snakemake.input[0]),
        int(snakemake.wildcards.M),
        int(snakemake.wildcards.efc),
        snakemake.params.seed,
        Path(snakemake.output.index),
        Path(snakemake.output.description),
        Path(snakemake.output.metrics),
    )
