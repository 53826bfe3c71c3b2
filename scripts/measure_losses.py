from pathlib import Path

from dmin.retraining.losses import measure_losses
from dmin.runtime.job import job

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    measure_losses(
        Path(snakemake.input.models),
        Path(snakemake.input.queries),
        snakemake.params.base,
        snakemake.params.finetune,
        snakemake.params.bank,
        snakemake.params.lds,
        (start, stop),
        Path(snakemake.output[0]),
        snakemake.resources.device,
        snakemake.resources.batch,
    )
