from pathlib import Path

from dmin.runtime.job import job
from dmin.verify.verify import check_files

with job(snakemake):
    table = Path(snakemake.output[0])
    check_files(snakemake.params.entries, snakemake.params.folders, table.parent, table)
