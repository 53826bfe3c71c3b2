from pathlib import Path

from dmin.job import job
from dmin.models.own_weights import import_pipeline

with job(snakemake):
    import_pipeline(
        snakemake.params.own,
        snakemake.params.base,
        Path(snakemake.output.weights),
        Path(snakemake.output.description),
    )
