from pathlib import Path

from dmin.attribution.score import score
from dmin.runtime.job import job

with job(snakemake):
    compressed = snakemake.wildcards.v != "full"
    score(
        snakemake.wildcards.method,
        [Path(path) for path in snakemake.input.train_norms],
        [Path(path) for path in snakemake.input.query_norms],
        Path(snakemake.input.train) if compressed else None,
        Path(snakemake.input.queries) if compressed else None,
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.top_k,
        Path(snakemake.output.scores),
        Path(snakemake.output.description),
        Path(snakemake.output.top),
        Path(snakemake.output.metrics),
        snakemake.params.options,
    )
