from pathlib import Path

from dmin.job import job
from dmin.retrieval.hnsw import build_index

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
