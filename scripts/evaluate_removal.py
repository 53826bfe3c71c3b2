from pathlib import Path

from dmin.evaluation.removal import evaluate_removal
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    evaluate_removal(
        group_parts(snakemake.params.removals, snakemake.input.images),
        Path(snakemake.input.queries),
        snakemake.params.widths,
        snakemake.params.settings,
        Path(snakemake.output.table),
        Path(snakemake.output.summary),
        snakemake.resources.batch,
    )
