from pathlib import Path

from dmin.audit.losses import SplitFiles, measure_sample_losses
from dmin.models.load import TrainedModel
from dmin.runtime.job import job
from dmin.runtime.pace import Pace

with job(snakemake):
    given = snakemake.input
    measure_sample_losses(
        TrainedModel(snakemake.params.base, Path(given.weights)),
        SplitFiles(Path(given.table), Path(given.encoded), Path(given.features)),
        SplitFiles(Path(given.train), Path(given.train_encoded), Path(given.train_features)),
        snakemake.params.losses,
        Path(snakemake.output[0]),
        Pace(snakemake.resources.device, snakemake.resources.batch),
    )
