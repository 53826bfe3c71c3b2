from pathlib import Path

from dmin.evaluation.hnsw_ablation import search_index
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.settings
    search_index(
        Path(snakemake.input.index),
        Path(snakemake.input.metrics),
        Path(snakemake.input.queries),
        Path(snakemake.input.exact),
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        settings["ef"],
        settings["k"],
        settings["top_k"],
        Path(snakemake.output[0]),
    )
