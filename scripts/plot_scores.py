from pathlib import Path

from dmin.figures.ranked import draw_score_distributions
from dmin.runtime.job import job

with job(snakemake):
    draw_score_distributions(
        Path(snakemake.input.scores),
        Path(snakemake.input.description),
        Path(snakemake.input.samples),
        Path(snakemake.input.queries),
        snakemake.wildcards.method,
        snakemake.wildcards.v,
        [Path(path) for path in snakemake.output],
        snakemake.params.figures["dpi"],
    )
