from pathlib import Path

from dmin.games.reference import draw_reference
from dmin.runtime.job import job

with job(snakemake):
    draw_reference(Path(snakemake.input[0]), snakemake.params.rows, snakemake.params.seed, Path(snakemake.output[0]))
