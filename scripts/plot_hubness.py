from dmin.figures.draw import draw_table
from dmin.figures.hubness import plot_hubness
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_hubness, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
