from pathlib import Path

from dmin.games.curves import write_curves
from dmin.runtime.job import job

with job(snakemake):
    curves = snakemake.params.curves
    write_curves(
        Path(snakemake.input[0]), curves["asked"], curves["behaviour"], curves["start"], Path(snakemake.output[0])
    )
