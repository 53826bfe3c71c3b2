from pathlib import Path

from dmin.attribution.score_checkpoints import score_checkpoints
from dmin.runtime.job import job

with job(snakemake):
    score_checkpoints(
        snakemake.wildcards.method,
        [Path(path) for path in snakemake.input.train_norms],
        [Path(path) for path in snakemake.input.query_norms],
        [Path(path) for path in snakemake.input.train],
        [Path(path) for path in snakemake.input.queries],
        Path(snakemake.input.checkpoints),
        snakemake.params.train,
        [Path(snakemake.input.samples), Path(snakemake.input.query_samples)],
        snakemake.params.top_k,
        Path(snakemake.output.scores),
        Path(snakemake.output.description),
        Path(snakemake.output.top),
        Path(snakemake.output.metrics),
    )
