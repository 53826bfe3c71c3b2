from dmin.figures.draw import draw_table
from dmin.figures.retrieval import plot_retrieval
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_retrieval, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
