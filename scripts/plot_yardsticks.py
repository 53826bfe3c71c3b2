from dmin.figures.draw import draw_tables
from dmin.figures.yardsticks import plot_yardsticks
from dmin.runtime.job import job

with job(snakemake):
    tables = [snakemake.input.lds, snakemake.input.detection]
    draw_tables(plot_yardsticks, tables, snakemake.output, snakemake.params.figures["dpi"])
