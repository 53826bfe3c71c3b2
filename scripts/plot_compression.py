from dmin.figures.compression import plot_compression
from dmin.figures.draw import draw_tables
from dmin.runtime.job import job

with job(snakemake):
    tables = [snakemake.input.compression, snakemake.input.detection, snakemake.input.cost]
    draw_tables(plot_compression, tables, snakemake.output, snakemake.params.figures["dpi"])
