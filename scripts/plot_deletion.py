from dmin.figures.deletion import plot_deletion
from dmin.figures.draw import draw_table
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_deletion, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
