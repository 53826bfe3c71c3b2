from dmin.figures.contributions import plot_contributions
from dmin.figures.draw import draw_table
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_contributions, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
