from pathlib import Path

from dmin.job import job
from dmin.models.own_queries import import_queries

with job(snakemake):
    import_queries(snakemake.params.images, snakemake.params.size, Path(snakemake.output[0]))
