from dmin.figures.draw import draw_table
from dmin.figures.norms import plot_gradient_norms
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_gradient_norms, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
