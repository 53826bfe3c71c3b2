from pathlib import Path

from dmin.models.cut_fields import FieldFiles, cut_fields
from dmin.runtime.job import job

with job(snakemake):
    files = FieldFiles(**{name: Path(path) for name, path in snakemake.output.items()})
    cut_fields(snakemake.params.maps, Path(snakemake.input.queries), Path(snakemake.input.top), files)
