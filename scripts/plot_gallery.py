from pathlib import Path

from dmin.figures.ranked import draw_gallery
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.figures
    draw_gallery(
        Path(snakemake.input.scores),
        Path(snakemake.input.description),
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        snakemake.wildcards.subset,
        snakemake.wildcards.method,
        snakemake.wildcards.v,
        settings["gallery"],
        [Path(path) for path in snakemake.output],
        settings["dpi"],
    )
