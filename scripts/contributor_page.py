from pathlib import Path

from dmin.figures.contributor_page import PageFiles, write_contributor_page
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = PageFiles(Path(given.contributions), Path(given.players), Path(given.samples))
    write_contributor_page(files, snakemake.wildcards.game, Path(snakemake.output[0]))
