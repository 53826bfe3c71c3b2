from dmin.figures.draw import draw_tables
from dmin.figures.lds_deletion import plot_lds_deletion
from dmin.runtime.job import job

with job(snakemake):
    tables = [snakemake.input.lds, snakemake.input.deletion]
    draw_tables(plot_lds_deletion, tables, snakemake.output, snakemake.params.figures["dpi"])
