from pathlib import Path

from dmin.data.assembly import assemble_dataset
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.dataset
    assemble_dataset(
        dict(zip(settings["sources"], map(Path, snakemake.input), strict=True)),
        settings,
        Path(snakemake.output.train),
        Path(snakemake.output.test),
        Path(snakemake.output.summary),
    )
