from pathlib import Path

from dmin.games.tables import measure_noise
from dmin.runtime.job import job

with job(snakemake):
    measure_noise(list(map(Path, snakemake.input.anchors)), Path(snakemake.input.members), Path(snakemake.output[0]))
