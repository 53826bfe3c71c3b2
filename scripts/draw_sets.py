from pathlib import Path

from dmin.retraining.sets import write_sets
from dmin.runtime.job import job

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    write_sets(Path(snakemake.input[0]), snakemake.params.bank, (start, stop), Path(snakemake.output[0]))
