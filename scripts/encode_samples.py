from pathlib import Path

from dmin.models.encoding import encode_samples
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    adapter = snakemake.input.get("adapter")
    encode_samples(
        Path(snakemake.input.samples),
        snakemake.params.base,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
        Path(adapter[0]) if adapter else None,
        snakemake.params.get("bucketed", False),
    )
