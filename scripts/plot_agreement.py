from dmin.figures.agreement import plot_agreement
from dmin.figures.draw import draw_table
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_agreement, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
