from pathlib import Path

from dmin.retrieval.hnsw import retrieve
from dmin.runtime.job import job

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
