from pathlib import Path

from dmin.data.samples import read_samples
from dmin.retraining.thickness_removals import choose_thickness_removals
from dmin.runtime.job import job

with job(snakemake):
    scores, reference = snakemake.input.scores, snakemake.input.reference
    choose_thickness_removals(
        snakemake.wildcards.removal,
        Path(snakemake.input.samples),
        read_samples(Path(snakemake.input.queries), ["id"]),
        Path(scores[0]) if scores else None,
        Path(reference[0]) if reference else None,
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
