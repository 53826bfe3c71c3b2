from dmin.figures.draw import draw_table
from dmin.figures.hnsw import plot_hnsw
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_hnsw, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
