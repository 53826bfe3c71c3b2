from dmin.figures.budget import plot_budget
from dmin.figures.draw import draw_tables
from dmin.runtime.job import job

with job(snakemake):
    tables = [snakemake.input.compression, snakemake.input.detection, snakemake.input.cost, *snakemake.input.lds]
    draw_tables(plot_budget, tables, snakemake.output, snakemake.params.figures["dpi"])
