from dmin.figures.draw import draw_table
from dmin.figures.training import plot_training
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_training, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
