from pathlib import Path

from dmin.evaluation.studied_removals import StudiedRemovals
from dmin.evaluation.thickness_shift import ThicknessFiles, evaluate_thickness
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    output = snakemake.output
    evaluate_thickness(
        StudiedRemovals(
            group_parts(snakemake.params.removals, snakemake.input.images),
            snakemake.params.widths,
        ),
        dict(zip(snakemake.params.removed, map(Path, snakemake.input.removed), strict=True)),
        Path(snakemake.input.samples),
        Path(snakemake.input.classifier),
        snakemake.params.settings,
        ThicknessFiles(Path(output.table), Path(output.removed), Path(output.values)),
    )
