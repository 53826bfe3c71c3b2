from pathlib import Path

from dmin.figures.image_strips import draw_thickness_images
from dmin.retraining.regenerated import group_parts
from dmin.runtime.job import job

with job(snakemake):
    parts = group_parts(snakemake.params.removals, snakemake.input.images)
    outputs = [Path(path) for path in snakemake.output]
    draw_thickness_images(parts, Path(snakemake.input.queries), outputs, snakemake.params.figures["dpi"])
