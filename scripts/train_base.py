from pathlib import Path

from dmin.models.base.pipeline import train_base
from dmin.models.training.pace import TrainingPace
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    out = Path(snakemake.output[0])
    pace = TrainingPace("cpu", snakemake.resources.save_every, request, code=snakemake.params.code)
    train_base(snakemake.params.settings, out, out.parent / ".resume", pace)
