from pathlib import Path

from dmin.data.assembly import list_planted
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.dataset
    sources = dict(zip(settings["sources"], map(Path, snakemake.input), strict=True))
    list_planted(sources, settings, Path(snakemake.output[0]))
