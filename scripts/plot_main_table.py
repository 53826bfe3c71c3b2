from dmin.figures.draw import draw_table
from dmin.figures.main_table import plot_main_table
from dmin.job import job

with job(snakemake):
    draw_table(plot_main_table, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
