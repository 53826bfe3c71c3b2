from pathlib import Path

from dmin.models.queries.cut_regions import RegionFiles, cut_regions
from dmin.runtime.job import job

with job(snakemake):
    inputs, output = snakemake.input, snakemake.output
    cut_regions(
        snakemake.params.regions,
        Path(inputs.queries),
        Path(inputs.encoded),
        RegionFiles(Path(output.table), Path(output.masks)),
    )
