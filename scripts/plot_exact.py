from dmin.figures.draw import draw_table
from dmin.figures.exact import plot_exact
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_exact, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
