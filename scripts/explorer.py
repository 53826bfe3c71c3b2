from pathlib import Path

import pandas as pd

from dmin.data.samples import read_samples
from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About
from dmin.runtime.job import job

with job(snakemake):
    write_explorer(
        Path(snakemake.output[0]),
        read_samples(Path(snakemake.input.queries)),
        read_samples(Path(snakemake.input.samples)),
        {
            label: pd.read_parquet(path)
            for label, path in zip(snakemake.params.labels, snakemake.input.tops, strict=True)
        },
        About(snakemake.wildcards.run, snakemake.params.notes, snakemake.params.top),
    )
