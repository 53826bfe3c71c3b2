import json
from functools import partial

from dmin.figures.draw import draw_table
from dmin.figures.main_table import encoder_labels, plot_main_table
from dmin.runtime.job import job

with job(snakemake):
    plot = partial(plot_main_table, labels=encoder_labels(json.loads(snakemake.params.options)["encoder"]))
    draw_table(plot, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
