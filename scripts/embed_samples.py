from pathlib import Path

from dmin.audit.embed import embed_samples
from dmin.runtime.job import job

with job(snakemake):
    embed_samples(Path(snakemake.input[0]), Path(snakemake.output[0]), snakemake.resources.batch)
