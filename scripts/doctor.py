from pathlib import Path

from dmin.doctor.doctor import doctor
from dmin.runtime.job import job

with job(snakemake):
    doctor(
        snakemake.params.entries,
        Path(snakemake.params.architectures),
        Path(snakemake.params.measured),
        Path(snakemake.output[0]),
    )
