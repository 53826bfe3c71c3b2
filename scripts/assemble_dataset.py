from pathlib import Path

from dmin.data.assembly import AssembledFiles, assemble_dataset
from dmin.runtime.job import job

with job(snakemake):
    settings = snakemake.params.dataset
    assemble_dataset(
        dict(zip(settings["sources"], map(Path, snakemake.input), strict=True)),
        settings,
        AssembledFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
    )
