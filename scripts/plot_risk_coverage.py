from dmin.figures.draw import draw_table
from dmin.figures.risk_coverage import plot_risk_coverage
from dmin.runtime.job import job

with job(snakemake):
    draw_table(plot_risk_coverage, snakemake.input[0], snakemake.output, snakemake.params.figures["dpi"])
