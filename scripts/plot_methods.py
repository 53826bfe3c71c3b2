from pathlib import Path

from dmin.figures.ranked import draw_method_gallery
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.figures
    draw_method_gallery(
        dict(zip(snakemake.params.methods, map(Path, snakemake.input.tops), strict=True)),
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        snakemake.wildcards.subset,
        settings["gallery"]["most"],
        [Path(path) for path in snakemake.output],
        settings["dpi"],
    )
