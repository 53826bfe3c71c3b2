from pathlib import Path

from dmin.job import job
from dmin.retraining.sets import write_sets

with job(snakemake):
    write_sets(Path(snakemake.input[0]), snakemake.params.bank, Path(snakemake.output[0]))
