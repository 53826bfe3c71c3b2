from pathlib import Path

from dmin.games.generate import generate_members
from dmin.retraining.members import RetrainedModels, Retrainings
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    start, stop = map(int, snakemake.wildcards.range.split("-"))
    retrainings = Retrainings(snakemake.params.bank, start, stop)
    generate_members(
        RetrainedModels(Path(snakemake.input.models), snakemake.params.base, snakemake.params.finetune, retrainings),
        Path(snakemake.input.test),
        snakemake.params.images,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
