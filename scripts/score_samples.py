from pathlib import Path

from dmin.attribution.score_samples import score_samples
from dmin.runtime.job import job

with job(snakemake):
    speed = {"device": snakemake.resources.device, "batch": snakemake.resources.batch}
    score_samples(
        snakemake.wildcards.method,
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        {**snakemake.params.options, **speed},
        snakemake.params.top_k,
        Path(snakemake.output.scores),
        Path(snakemake.output.description),
        Path(snakemake.output.top),
        Path(snakemake.output.metrics),
    )
