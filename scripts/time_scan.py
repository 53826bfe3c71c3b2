from pathlib import Path

from dmin.retrieval.time_scan import time_scan
from dmin.runtime.job import job

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    time_scan(Path(inputs.train), Path(inputs.queries), params.top_k, Path(snakemake.output[0]))
