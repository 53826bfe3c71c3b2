from pathlib import Path

from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.retraining.regenerate import regenerate
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    retrainings = Retrainings(snakemake.params.bank, start, stop)
    regenerate(
        RetrainedModels(Path(snakemake.input.models), snakemake.params.base, snakemake.params.finetune, retrainings),
        Path(snakemake.input.removed),
        Path(snakemake.input.images),
        snakemake.params.sampling,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
