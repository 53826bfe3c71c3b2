from pathlib import Path

from dmin.retraining.losses import measure_losses
from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    retrainings = Retrainings(snakemake.params.bank, start, stop)
    measure_losses(
        RetrainedModels(Path(snakemake.input.models), snakemake.params.base, snakemake.params.finetune, retrainings),
        Path(snakemake.input.queries),
        snakemake.params.lds,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
