from pathlib import Path

from dmin.job import job
from dmin.retrieval.hnsw import retrieve

with job(snakemake):
    settings = snakemake.params.settings
    retrieve(
        Path(snakemake.input.index),
        Path(snakemake.input.queries),
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        settings["ef"],
        settings["top_k"],
        Path(snakemake.output.top),
        Path(snakemake.output.metrics),
    )
