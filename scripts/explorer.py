import json
from pathlib import Path

from dmin.data.samples import read_samples
from dmin.figures.explorer import write_explorer
from dmin.figures.explorer_data import About, shown_samples
from dmin.runtime.job import job
from dmin.runtime.parquet import read_parquet

with job(snakemake):
    tops = zip(snakemake.params.labels, snakemake.input.tops, strict=True)
    rankings = {label: read_parquet(Path(path)) for label, path in tops}
    shown = shown_samples(rankings, snakemake.params.top)
    write_explorer(
        Path(snakemake.output[0]),
        read_samples(Path(snakemake.input.queries)),
        read_samples(Path(snakemake.input.samples), ids=shown),
        rankings,
        About(
            snakemake.wildcards.run,
            json.loads(snakemake.params.notes),
            snakemake.params.top,
            snakemake.params.subsets_known,
        ),
    )
