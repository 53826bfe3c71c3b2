from pathlib import Path

from dmin.models.base.pipeline import train_base
from dmin.runtime.deadline import StopRequest
from dmin.runtime.job import job

with job(snakemake), StopRequest(snakemake.resources.get("runtime")) as request:
    out = Path(snakemake.output[0])
    train_base(snakemake.params.settings, out, out.parent / ".resume", snakemake.resources.save_every, request)
