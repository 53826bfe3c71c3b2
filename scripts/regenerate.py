from pathlib import Path

from dmin.retraining.regenerate import regenerate
from dmin.runtime.job import job

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    regenerate(
        Path(snakemake.input.models),
        Path(snakemake.input.removed),
        Path(snakemake.input.images),
        snakemake.params.base,
        snakemake.params.finetune,
        snakemake.params.bank,
        snakemake.params.sampling,
        (start, stop),
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
