import json
from functools import partial

from dmin.figures.draw import draw_table
from dmin.figures.main_table import encoder_labels, plot_main_table, plot_subset_table
from dmin.runtime.job import job

with job(snakemake):
    labels = encoder_labels(json.loads(snakemake.params.options)["encoder"])
    for plot, files in ((plot_main_table, snakemake.output.mean), (plot_subset_table, snakemake.output.subsets)):
        draw_table(partial(plot, labels=labels), snakemake.input[0], files, snakemake.params.figures["dpi"])
