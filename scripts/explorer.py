from pathlib import Path

import pandas as pd
from dmin.data.samples import read_samples
from dmin.figures.explorer import write_explorer
from dmin.job import job

with job(snakemake):
    top = snakemake.params.top
    rankings = {}
    for label, path in zip(snakemake.params.labels, snakemake.input.tops, strict=True):
        ranking = pd.read_parquet(path)
        rankings[label] = ranking[ranking["rank"] <= top]
    write_explorer(
        Path(snakemake.output[0]),
        read_samples(Path(snakemake.input.queries)),
        read_samples(Path(snakemake.input.samples)),
        rankings,
        snakemake.wildcards.run,
        snakemake.params.notes,
    )
