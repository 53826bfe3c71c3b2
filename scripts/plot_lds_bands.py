from dmin.figures.draw import draw_table
from dmin.figures.lds_bands import plot_lds_bands
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_lds_bands, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
