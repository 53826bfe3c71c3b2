from pathlib import Path

from dmin.gradients.compress import compress
from dmin.runtime.job import job

with job(snakemake):
    compress(
        [Path(path) for path in snakemake.input],
        int(snakemake.wildcards.v),
        Path(snakemake.output.sketch),
        Path(snakemake.output.description),
        Path(snakemake.output.metrics),
    )
