from dmin.figures.detection import plot_detection_by_k, plot_detection_by_v
from dmin.figures.draw import draw_table
from dmin.runtime.job import job

with job(snakemake):
    dpi = snakemake.params.figures["dpi"]
    draw_table(plot_detection_by_k, snakemake.input[0], snakemake.output.by_k, dpi)
    draw_table(plot_detection_by_v, snakemake.input[0], snakemake.output.by_v, dpi)
