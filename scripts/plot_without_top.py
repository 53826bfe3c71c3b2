from pathlib import Path

from dmin.figures.without_top import draw_without_top
from dmin.runtime.job import job

with job(snakemake):
    given, dpi = snakemake.input, snakemake.params.figures["dpi"]
    images, outputs = ([Path(path) for path in paths] for paths in (given.images, snakemake.output))
    draw_without_top(
        Path(given.contributions), Path(given.coalitions), images, snakemake.params.behaviour, outputs, dpi
    )
