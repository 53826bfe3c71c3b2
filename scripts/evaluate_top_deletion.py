from pathlib import Path

from dmin.evaluation.top_deletion import Deleted, evaluate_top_deletion
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    losses = group_parts(snakemake.params.removals, snakemake.input.losses)
    removed = dict(zip(losses, snakemake.input.removed, strict=True))
    evaluate_top_deletion(
        {
            name: Deleted(files, Path(removed[name]), snakemake.params.widths.get(name, ""))
            for name, files in losses.items()
        },
        snakemake.params.confidence,
        Path(snakemake.output[0]),
    )
