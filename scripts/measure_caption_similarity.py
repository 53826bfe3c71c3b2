from pathlib import Path

from dmin.audit.caption_similarity import measure_caption_similarity
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    measure_caption_similarity(
        Path(snakemake.input[0]),
        snakemake.params.encoder["encoder"],
        snakemake.params.encoder["revision"],
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
