from dmin.figures.draw import draw_table
from dmin.figures.removal import plot_removal
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_removal, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
