from pathlib import Path

from dmin.games.players import keep_samples
from dmin.runtime.job import job

with job(snakemake):
    keep_samples(
        Path(snakemake.input.coalitions),
        Path(snakemake.input.players),
        snakemake.params.span,
        Path(snakemake.output.samples),
        Path(snakemake.output.record),
    )
