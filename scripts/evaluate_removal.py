from pathlib import Path

from dmin.evaluation.removal import RemovalFiles, evaluate_removal
from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    evaluate_removal(
        StudiedRemovals(
            group_parts(snakemake.params.removals, snakemake.input.images),
            snakemake.params.widths,
        ),
        Path(snakemake.input.queries),
        snakemake.params.settings,
        RemovalFiles(Path(snakemake.output.table), Path(snakemake.output.summary)),
        snakemake.resources.batch,
    )
