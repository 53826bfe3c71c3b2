from pathlib import Path

from dmin.evaluation.thickness_shift import evaluate_thickness
from dmin.job import job
from dmin.retraining.regenerated import group_parts

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
