from pathlib import Path

from dmin.evaluation.thickness_shift import evaluate_thickness
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    evaluate_thickness(
        group_parts(snakemake.params.removals, snakemake.input.images),
        dict(zip(snakemake.params.removed, map(Path, snakemake.input.removed), strict=True)),
        Path(snakemake.input.samples),
        Path(snakemake.input.classifier),
        snakemake.params.widths,
        snakemake.params.settings,
        Path(snakemake.output.table),
        Path(snakemake.output.removed),
        Path(snakemake.output.values),
    )
