from functools import partial

from dmin.attribution.settings import encoder_name
from dmin.figures.draw import draw_table
from dmin.figures.main_table import plot_main_table
from dmin.runtime.job import job

with job(snakemake):
    plot = partial(plot_main_table, encoder=encoder_name(snakemake.params.options))
    draw_table(plot, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
