from pathlib import Path

from dmin.data.samples import read_samples
from dmin.retraining.removals import Chooser
from dmin.retraining.thickness_removals import choose_thickness_removals
from dmin.runtime.job import job

with job(snakemake):
    scores, reference = (
        Path(files[0]) if files else None for files in (snakemake.input.scores, snakemake.input.reference)
    )
    choose_thickness_removals(
        Chooser(snakemake.wildcards.removal, scores, reference),
        Path(snakemake.input.samples),
        read_samples(Path(snakemake.input.queries), ["id"]),
        snakemake.params.settings,
        Path(snakemake.output[0]),
    )
