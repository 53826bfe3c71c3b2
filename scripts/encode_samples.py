from pathlib import Path

from dmin.job import job
from dmin.models.encoding import encode_samples

with job(snakemake):
    encode_samples(
        Path(snakemake.input.samples),
        snakemake.params.base,
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
