from dmin.figures.contributor_lds import plot_contributor_lds
from dmin.figures.draw import draw_table
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_contributor_lds, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
