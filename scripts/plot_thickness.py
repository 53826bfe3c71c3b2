from pathlib import Path

from dmin.figures.thickness import draw_thickness
from dmin.runtime.job import job

with job(snakemake):
    outputs = [Path(path) for path in snakemake.output]
    tables = Path(snakemake.input.table), Path(snakemake.input.values)
    draw_thickness(*tables, outputs, snakemake.params.figures["dpi"])
