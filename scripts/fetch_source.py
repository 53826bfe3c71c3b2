from pathlib import Path

from dmin.data.source import fetch_source
from dmin.runtime.job import job

with job(snakemake):
    fetch_source(snakemake.wildcards.source, snakemake.params.source, Path(snakemake.output[0]))
