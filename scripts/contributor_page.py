from pathlib import Path

from dmin.figures.contributor_page import PageFiles, Played, write_contributor_page
from dmin.runtime.job import job

with job(snakemake):
    given = snakemake.input
    files = PageFiles(Path(given.contributions), Path(given.players), Path(given.samples))
    played = Played(snakemake.wildcards.game, snakemake.params.behaviours)
    write_contributor_page(files, played, Path(snakemake.output[0]))
