from pathlib import Path

from dmin.runtime.job import job
from dmin.verify.verify import require_ok

with job(snakemake):
    require_ok(Path(snakemake.input[0]))
