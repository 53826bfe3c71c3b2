from pathlib import Path

from dmin.data.samples import read_samples
from dmin.retraining.removals import Chooser, choose_removals
from dmin.runtime.job import job

with job(snakemake):
    scores = snakemake.input.scores
    choose_removals(
        Chooser(snakemake.wildcards.removal, Path(scores[0]) if scores else None),
        Path(snakemake.input.samples),
        read_samples(Path(snakemake.input.queries), ["id", "subset"]),
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
